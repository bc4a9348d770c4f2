-- From format 1 to 2: results by fingerprint.

-- What nodes gave, by fingerprint; entry is NULL for tests, answer says what they answered.
CREATE TABLE results (
    fingerprint VARCHAR(64) NOT NULL PRIMARY KEY,
    node TEXT NOT NULL,
    parts TEXT NOT NULL,
    entry TEXT,
    answer TEXT NOT NULL,
    run VARCHAR(200),
    author TEXT NOT NULL,
    made_at VARCHAR(32) NOT NULL,
    seconds DOUBLE PRECISION NOT NULL
);

CREATE INDEX results_by_node ON results (node, made_at);

-- Who is about to compute a result; a claim lives as long as its run says that it lives.
CREATE TABLE claims (
    fingerprint VARCHAR(64) NOT NULL PRIMARY KEY,
    run VARCHAR(200) NOT NULL
);
