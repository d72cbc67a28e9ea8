-- What every service needs to take part in the bus.

-- Events that were handled: the note commits with the work.
CREATE TABLE inbox (
    source       text        NOT NULL,   -- ce_source, or 'kafka:<topic>/<partition>' of a dead letter
    id           text        NOT NULL,   -- ce_id
    digest       bytea       NOT NULL,   -- SHA-256 of type and content: same id, other content is an alarm
    received_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source, id)
);

-- Events that are to be published: they commit with the work that caused them.
CREATE TABLE outbox (
    position       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic          text        NOT NULL,
    key            bytea,
    header_names   text[]      NOT NULL,
    header_values  bytea[]     NOT NULL,
    value          bytea       NOT NULL,
    queued_at      timestamptz NOT NULL DEFAULT now(),
    CHECK (cardinality(header_names) = cardinality(header_values))
);
