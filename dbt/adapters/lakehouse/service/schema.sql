-- What a service keeps beside its catalog, for SQLite and PostgreSQL alike. A change here is a new format: raise
-- database.FORMAT. Times are UTC texts of 32 characters, which sort as times do.

CREATE TABLE lakehouse_service_meta (
    name VARCHAR(40) NOT NULL PRIMARY KEY,
    value VARCHAR(200) NOT NULL
);

CREATE TABLE lakehouse_service_tokens (
    id VARCHAR(40) NOT NULL PRIMARY KEY,
    name VARCHAR(200) NOT NULL,
    user_name VARCHAR(200) NOT NULL,
    role VARCHAR(200) NOT NULL,
    secret_hash VARCHAR(64) NOT NULL,
    created_at VARCHAR(32) NOT NULL,
    created_by VARCHAR(200) NOT NULL,
    expires_at VARCHAR(32),
    used_at VARCHAR(32),
    revoked_at VARCHAR(32)
);

-- Entries are added and, when their time has come, removed; never changed.
CREATE TABLE lakehouse_service_audit (
    id VARCHAR(40) NOT NULL PRIMARY KEY,
    time VARCHAR(32) NOT NULL,
    verb VARCHAR(40) NOT NULL,
    outcome VARCHAR(10) NOT NULL,
    ref TEXT,
    user_name VARCHAR(200),
    role VARCHAR(200),
    token VARCHAR(40),
    run VARCHAR(200),
    reason TEXT,
    request VARCHAR(200)
);

CREATE INDEX lakehouse_service_audit_by_time ON lakehouse_service_audit (time);

CREATE INDEX lakehouse_service_audit_by_user ON lakehouse_service_audit (user_name, time);

-- created_at is the branch's own: a branch of the same name that was made later has no owner here.
CREATE TABLE lakehouse_service_owners (
    branch VARCHAR(200) NOT NULL PRIMARY KEY,
    created_at VARCHAR(32) NOT NULL,
    user_name VARCHAR(200) NOT NULL
);

-- What a run must remember beyond the catalog, so that a service which was started again takes it up.
CREATE TABLE lakehouse_service_runs (
    id VARCHAR(200) NOT NULL PRIMARY KEY,
    user_name VARCHAR(200) NOT NULL,
    state TEXT NOT NULL,
    saved_at VARCHAR(32) NOT NULL
);

-- Times of jobs are seconds since 1970. record is JSON of what is not in columns; logs a JSON list.
CREATE TABLE lakehouse_service_jobs (
    key VARCHAR(200) NOT NULL PRIMARY KEY,
    label TEXT NOT NULL,
    user_name VARCHAR(200) NOT NULL,
    state VARCHAR(20) NOT NULL,
    submitted_at DOUBLE PRECISION NOT NULL,
    finished_at DOUBLE PRECISION,
    envelope TEXT NOT NULL,
    record TEXT NOT NULL,
    logs TEXT NOT NULL
);

CREATE INDEX lakehouse_service_jobs_by_time ON lakehouse_service_jobs (submitted_at);
