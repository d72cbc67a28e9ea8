-- The master log.  What is here never changes and holds nothing personal; what is personal lies
-- in payload, and goes from there.

CREATE TABLE tree (
    alone  boolean  PRIMARY KEY DEFAULT true CHECK (alone),
    size   bigint   NOT NULL CHECK (size >= 0)
);
INSERT INTO tree (size) VALUES (0);   -- this row's lock is what makes appenders take turns

CREATE TABLE tile (
    level   smallint  NOT NULL,
    number  bigint    NOT NULL,
    hashes  bytea     NOT NULL CHECK (length(hashes) BETWEEN 32 AND 8192 AND length(hashes) % 32 = 0),
    PRIMARY KEY (level, number)
);
ALTER TABLE tile ALTER hashes SET STORAGE EXTERNAL;   -- hashes do not compress

CREATE TABLE entry (
    index        bigint    PRIMARY KEY,
    leaf         bytea     NOT NULL CHECK (length(leaf) = 64),
    who_digest   bytea     CHECK (length(who_digest) = 32),   -- NULL: the entry has no such part
    what_digest  bytea     NOT NULL CHECK (length(what_digest) = 32)
);

CREATE TABLE checkpoint (
    size       bigint       PRIMARY KEY,   -- one size, one root: two can never be signed
    root       bytea        NOT NULL CHECK (length(root) = 32),
    note       text         NOT NULL,
    signed_at  timestamptz  NOT NULL
);

CREATE TABLE tenant (
    customer_id  text    PRIMARY KEY,
    key          bytea   NOT NULL CHECK (length(key) = 32),
    entries      bigint  NOT NULL CHECK (entries >= 0)
);

-- What retention knows a day of a customer's entries by: one record of personal data.
CREATE TABLE bucket (
    id           bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    record_id    text    NOT NULL UNIQUE,
    category     text    NOT NULL,
    customer_id  text    NOT NULL,
    day          date    NOT NULL,
    state        text    NOT NULL DEFAULT 'open'
                 CHECK (state IN ('open', 'closed', 'quarantined', 'purged'))
);
CREATE UNIQUE INDEX bucket_open ON bucket (category, customer_id, day) WHERE state = 'open';

CREATE TABLE payload (
    index        bigint       PRIMARY KEY,
    bucket       bigint,                    -- NULL: not personal, never purged
    customer_id  text,
    source       text         NOT NULL,
    event_id     text         NOT NULL,
    type         text         NOT NULL,
    at           timestamptz  NOT NULL,
    who          bytea,
    who_salt     bytea        CHECK (length(who_salt) = 16),
    what         bytea,
    what_salt    bytea        CHECK (length(what_salt) = 16),
    -- A salt must never outlive its value: with it, short values can be guessed.
    CHECK ((who IS NULL) = (who_salt IS NULL)),
    CHECK ((what IS NULL) = (what_salt IS NULL))
);
CREATE INDEX payload_bucket ON payload (bucket) WHERE bucket IS NOT NULL;
CREATE INDEX payload_event ON payload (event_id);
CREATE INDEX payload_customer ON payload (customer_id, index);
