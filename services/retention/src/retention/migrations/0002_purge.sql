-- The closed loop: a job's chunks go to holders, and it closes when each has answered for each.

CREATE TABLE purge_job (
    id              uuid         PRIMARY KEY,
    category        text         NOT NULL,
    reason          text         NOT NULL CHECK (reason IN ('deadline', 'erasure-request', 'restore-replay')),
    policy_version  int          NOT NULL,
    records         int          NOT NULL,
    must_purge_by   timestamptz  NOT NULL,
    opened_at       timestamptz  NOT NULL,
    closed_at       timestamptz,
    closed_event    text                     -- the id of the decision in the master log
);
CREATE INDEX purge_job_open ON purge_job (opened_at) WHERE closed_at IS NULL;

CREATE TABLE purge_chunk (
    id            uuid         PRIMARY KEY,
    job           uuid         NOT NULL REFERENCES purge_job,
    holder        text         NOT NULL,
    command       jsonb        NOT NULL,    -- as sent, with its hash
    refs          text[]       NOT NULL CHECK (cardinality(refs) BETWEEN 1 AND 500),
    state         text         NOT NULL CHECK (state IN ('preparing', 'committing', 'cancelling', 'done')),
    sent_at       timestamptz  NOT NULL,
    attempts      int          NOT NULL DEFAULT 1,
    next_try_at   timestamptz,
    answered_at   timestamptz,
    erased        int          NOT NULL DEFAULT 0,
    anonymised    int          NOT NULL DEFAULT 0,
    not_found     int          NOT NULL DEFAULT 0,
    refused       int          NOT NULL DEFAULT 0,
    failed        int          NOT NULL DEFAULT 0,
    method        text,
    residual_until timestamptz,
    CHECK ((state = 'done') = (next_try_at IS NULL))
);
CREATE INDEX purge_chunk_job ON purge_chunk (job);
CREATE INDEX purge_chunk_waiting ON purge_chunk (next_try_at) WHERE state <> 'done';

-- Alerts that were raised and not resolved, so that each is said once.
CREATE TABLE alert_open (
    fingerprint  text         PRIMARY KEY,
    summary      text         NOT NULL,
    raised_at    timestamptz  NOT NULL
);
