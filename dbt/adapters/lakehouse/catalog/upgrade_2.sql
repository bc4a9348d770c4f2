-- From format 2 to 3: what branches showed before they were moved, what garbage collection took, who wrote which files.

-- When garbage collection took what only this commit led to; NULL while all its files are there.
ALTER TABLE commits ADD COLUMN collected VARCHAR(32);

CREATE INDEX commits_by_run ON commits (run);

CREATE INDEX runs_by_base ON runs (base);

-- What branches pointed to before they were moved to where no commit of theirs led.
CREATE TABLE moves (
    name VARCHAR(200) NOT NULL,
    time VARCHAR(32) NOT NULL,
    from_commit VARCHAR(40) NOT NULL REFERENCES commits (id),
    to_commit VARCHAR(40) NOT NULL REFERENCES commits (id),
    PRIMARY KEY (name, time)
);

-- Every state of a table that was ever committed, by its metadata file. run is who wrote it, as long as nothing vouches
-- for that; gone is when garbage collection took it.
CREATE TABLE locations (
    location TEXT NOT NULL PRIMARY KEY,
    run VARCHAR(200),
    gone VARCHAR(32)
);

CREATE INDEX locations_by_run ON locations (run);
