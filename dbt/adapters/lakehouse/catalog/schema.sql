-- The catalog's tables, for SQLite and PostgreSQL alike. A change here is a new format: raise sql_database.FORMAT.
--
-- A commit stands on a line, at a sequence number; a line is a row of commits that one branch appended. The state at a
-- commit is what its line holds up to that number, laid over the state the line was forked from. Of history nothing is
-- ever updated but commits.collected and entries.until_seq, and that in a way that no earlier state can see.

CREATE TABLE lakehouse_meta (
    name VARCHAR(40) NOT NULL PRIMARY KEY,
    value VARCHAR(200) NOT NULL
);

CREATE TABLE lines (
    id BIGINT NOT NULL PRIMARY KEY,
    parent_line BIGINT REFERENCES lines (id),
    fork_seq BIGINT,
    depth INTEGER NOT NULL
);

-- collected is when garbage collection took what only this commit led to; NULL while all its files are there.
CREATE TABLE commits (
    id VARCHAR(40) NOT NULL PRIMARY KEY,
    line BIGINT NOT NULL REFERENCES lines (id),
    seq BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    parent VARCHAR(40) REFERENCES commits (id),
    merge_parent VARCHAR(40) REFERENCES commits (id),
    author TEXT NOT NULL,
    message TEXT NOT NULL,
    time VARCHAR(32) NOT NULL,
    run VARCHAR(200),
    provenance TEXT NOT NULL,
    collected VARCHAR(32),
    UNIQUE (line, seq)
);

CREATE INDEX commits_by_run ON commits (run);

CREATE TABLE contents (
    id VARCHAR(40) NOT NULL PRIMARY KEY,
    kind VARCHAR(10) NOT NULL,
    json TEXT NOT NULL
);

-- An entry holds from seq until (but not at) until_seq, 9223372036854775807 while nothing has superseded it. content is
-- NULL where the key was dropped; before is what stood there, so that a commit's changes can be read off its rows. Rows
-- at seq 0 belong to no commit: they are the lines in between, laid together when a chain of forks grew long.
CREATE TABLE entries (
    line BIGINT NOT NULL REFERENCES lines (id),
    seq BIGINT NOT NULL,
    schema_name TEXT NOT NULL,
    table_name TEXT NOT NULL,
    until_seq BIGINT NOT NULL,
    content VARCHAR(40) REFERENCES contents (id),
    before VARCHAR(40) REFERENCES contents (id),
    PRIMARY KEY (line, seq, schema_name, table_name)
);

CREATE INDEX entries_by_key ON entries (line, schema_name, table_name, until_seq);

CREATE INDEX entries_by_until ON entries (line, until_seq);

-- line is the one this branch appends to; NULL before its first commit, and for tags.
CREATE TABLE refs (
    name VARCHAR(200) NOT NULL PRIMARY KEY,
    kind VARCHAR(10) NOT NULL,
    commit_id VARCHAR(40) NOT NULL REFERENCES commits (id),
    line BIGINT REFERENCES lines (id),
    protected SMALLINT NOT NULL,
    run VARCHAR(200),
    created_at VARCHAR(32) NOT NULL
);

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

CREATE TABLE runs (
    id VARCHAR(200) NOT NULL PRIMARY KEY,
    branch VARCHAR(200) NOT NULL,
    target VARCHAR(200) NOT NULL,
    base VARCHAR(40) NOT NULL,
    command TEXT NOT NULL,
    status VARCHAR(20) NOT NULL,
    owner TEXT NOT NULL,
    started_at VARCHAR(32) NOT NULL,
    heartbeat_at VARCHAR(32) NOT NULL,
    finished_at VARCHAR(32),
    continues VARCHAR(200),
    published VARCHAR(40),
    error TEXT,
    nodes TEXT NOT NULL
);

CREATE INDEX runs_by_start ON runs (started_at);

CREATE INDEX runs_by_base ON runs (base);

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
