-- What a holder of personal data remembers of the purge commands it was given.
CREATE TABLE purge_chunk_seen (
    chunk_id      text    PRIMARY KEY,
    command_hash  text    NOT NULL,
    hold_epoch    bigint  NOT NULL,
    state         text    NOT NULL CHECK (state IN ('quarantined', 'erased', 'cancelled')),
    refs          text[]  NOT NULL,   -- quarantined, and after the commit: gone
    missing       text[]  NOT NULL,
    exceptions    jsonb   NOT NULL
);
