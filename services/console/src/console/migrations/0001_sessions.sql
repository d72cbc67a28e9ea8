-- People who are signed in.  The id in a browser's cookie is never stored, only its SHA-256.
CREATE TABLE session (
    id          bytea        PRIMARY KEY CHECK (octet_length(id) = 32),
    person      jsonb        NOT NULL,
    ends_at     timestamptz  NOT NULL,
    idle_until  timestamptz  NOT NULL
);
CREATE INDEX session_ends_at ON session (ends_at);
