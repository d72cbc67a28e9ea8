-- Requests that were done under an Idempotency-Key: the note commits with the work.
CREATE TABLE request_key (
    caller        text         NOT NULL,   -- subject of the bearer token; '' without one
    key           text         NOT NULL,
    digest        bytea        NOT NULL,   -- SHA-256 of method, address and body: a key is for one request
    noted_at      timestamptz  NOT NULL DEFAULT now(),
    status        smallint,                -- these three once the answer is out
    content_type  text,
    body          bytea,
    PRIMARY KEY (caller, key),
    CHECK (num_nulls(status, content_type, body) IN (0, 3))
);
CREATE INDEX request_key_noted ON request_key (noted_at);
