-- What people who run the service look at and decide on.

-- Events that were set aside, without what they say: that lies on their dead-letter topic alone.
CREATE TABLE dead_letter (
    id            uuid         PRIMARY KEY,  -- UUIDv7, so that newest first is one order everywhere
    kept_on       text         NOT NULL,     -- its dead-letter topic, without the prefix
    topic         text         NOT NULL,     -- where the event lay, with the prefix
    partition     int          NOT NULL,
    position      bigint       NOT NULL,     -- its offset there
    code          text         NOT NULL,
    reason        text         NOT NULL,     -- names fields and rules, never values
    set_aside_at  timestamptz  NOT NULL,
    settled       text         CHECK (settled IN ('redriven', 'dropped')),
    settled_at    timestamptz,
    settled_by    text         CHECK (settled_by <> ''),
    -- Nothing is dealt with by nobody.
    CHECK ((settled IS NULL) = (settled_at IS NULL)),
    CHECK ((settled IS NULL) = (settled_by IS NULL))
);
CREATE INDEX dead_letter_waiting ON dead_letter (topic, id) WHERE settled IS NULL;
CREATE INDEX dead_letter_settled ON dead_letter (settled, id) WHERE settled IS NOT NULL;

-- Which process did work that one does at a time, and when last.
CREATE TABLE duty (
    name     text         PRIMARY KEY,
    process  text         NOT NULL,
    done_at  timestamptz  NOT NULL
);
