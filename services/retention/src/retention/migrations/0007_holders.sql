-- What holders say of themselves: that they were restored, and what they hold.

-- What a holder purged since the backup that it was restored from is ordered again.
CREATE TABLE holder_restore (
    holder          text         NOT NULL,
    from_backup_at  timestamptz  NOT NULL,
    restored_at     timestamptz  NOT NULL,   -- by then; a later purge is not undone
    PRIMARY KEY (holder, from_backup_at, restored_at)
);

-- The registry no longer knows these; what a purge needs is as the command had it that is repeated.
CREATE TABLE purge_again (
    id              bigint       GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    holder          text         NOT NULL,
    category        text         NOT NULL,
    record_id       text         NOT NULL,
    action          text         NOT NULL CHECK (action IN ('erase', 'anonymise')),
    policy_version  int          NOT NULL,
    purge_from      timestamptz  NOT NULL,
    must_purge_by   timestamptz  NOT NULL,
    added_at        timestamptz  NOT NULL,
    chunk           uuid         REFERENCES purge_chunk,   -- the replay it is part of at present
    not_before      timestamptz,                           -- a holder refused it until then
    UNIQUE (holder, category, record_id)
);
CREATE INDEX purge_again_chunk ON purge_again (chunk) WHERE chunk IS NOT NULL;

CREATE INDEX purge_chunk_answered ON purge_chunk (holder, answered_at) WHERE state = 'done';

-- The newest inventory of each holder and category, beside what the registry knew.
CREATE TABLE inventory (
    holder    text         NOT NULL,
    category  text         NOT NULL,
    as_of     timestamptz  NOT NULL,
    count     bigint       NOT NULL,
    known     bigint       NOT NULL,
    agrees    boolean      NOT NULL,
    PRIMARY KEY (holder, category)
);
