"""How reliably flights from New York reach each airport on time, on a scale from 0 to 100.

A raw share of punctual flights puts an airport with eight lucky flights on top. Here each airport's share is drawn
towards the average of all, the more so the fewer flights it has (a beta-binomial model, its prior estimated from the
airports themselves by the method of moments). An airport with as many flights as `prior_flights` sits half way.
"""

import numpy as np


def model(dbt, session):
    dbt.config(materialized="table")

    flights = dbt.ref("fct_flights").filter("status = 'arrived'")
    airports = dbt.ref("dim_airports")
    scores = flights.aggregate(
        "destination as airport, count(*) as flights, count(*) filter (where is_on_time) as on_time_flights"
    ).df()

    mean, prior_flights = beta_prior(scores["flights"].to_numpy(), scores["on_time_flights"].to_numpy())
    weight = scores["flights"] + prior_flights
    expected = (scores["on_time_flights"] + prior_flights * mean) / weight
    spread = 1.96 * np.sqrt(expected * (1 - expected) / (weight + 1))

    scores["raw_share"] = (scores["on_time_flights"] / scores["flights"]).round(4)
    scores["score"] = (100 * expected).round(1)
    scores["score_low"] = (100 * (expected - spread)).clip(0, 100).round(1)
    scores["score_high"] = (100 * (expected + spread)).clip(0, 100).round(1)
    scores["prior_flights"] = round(float(prior_flights), 1)
    scores["score_rank"] = expected.rank(ascending=False, method="min").astype("int64")

    names = airports.project("airport, airport_name, region").df()
    columns = ["score_rank", "airport", "airport_name", "region", "flights", "on_time_flights", "raw_share"]
    columns += ["score", "score_low", "score_high", "prior_flights"]
    return scores.merge(names, on="airport").sort_values(["score_rank", "airport"])[columns]


def beta_prior(flights, on_time):
    """The mean of all airports' shares, and how many flights' worth of evidence it counts for."""
    mean = on_time.sum() / flights.sum()
    shares = on_time / flights
    observed = np.average((shares - mean) ** 2, weights=flights)
    by_chance = mean * (1 - mean) * len(flights) / flights.sum()
    between = max(observed - by_chance, 1e-6)
    return mean, mean * (1 - mean) / between - 1
