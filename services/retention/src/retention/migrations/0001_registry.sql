-- References to personal data that others hold, and when it must go.  Nothing personal is here.

CREATE TABLE policy (
    category      text         PRIMARY KEY,
    version       int          NOT NULL,
    sha256        bytea        NOT NULL,
    activated_at  timestamptz  NOT NULL
);

CREATE TABLE fiscal_year (
    entity     text     NOT NULL,
    first_day  date     NOT NULL,
    last_day   date     NOT NULL CHECK (last_day >= first_day),
    closed     boolean  NOT NULL,
    PRIMARY KEY (entity, first_day)
);

-- What happened to a customer's services, by when it took effect.
CREATE TABLE service_event (
    customer_id  text         NOT NULL,
    service_id   text         NOT NULL,
    kind         text         NOT NULL
                 CHECK (kind IN ('started', 'terminated', 'reactivated', 'termination-revoked')),
    day          date         NOT NULL,
    at           timestamptz,
    PRIMARY KEY (customer_id, service_id, kind, day)
);

-- The day a customer's account was settled, and the like.
CREATE TABLE customer_anchor (
    customer_id  text  NOT NULL,
    kind         text  NOT NULL,
    day          date  NOT NULL,
    PRIMARY KEY (customer_id, kind, day)
);

-- Occurrences that periods run from.  Kept by reference, for they may come before the record does.
CREATE TABLE anchor (
    holder      text     NOT NULL,
    category    text     NOT NULL,
    record_id   text     NOT NULL,
    anchor_id   text     NOT NULL,
    kind        text,                 -- NULL: revoked or superseded before it was heard of
    day         date,
    superseded  boolean  NOT NULL DEFAULT false,
    revoked     boolean  NOT NULL DEFAULT false,
    PRIMARY KEY (holder, category, record_id, anchor_id)
);

-- A deadline depends on these four things alone, so it is computed once for all records that
-- share them.
CREATE TABLE deadline_key (
    id              bigint       GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entity          text         NOT NULL,
    category        text         NOT NULL,
    scheme          text         NOT NULL,   -- '' or the VAT scheme, which may add a rule
    anchor_state    text         NOT NULL,
    anchor_day      date,
    policy_version  int          NOT NULL,
    status          text         NOT NULL CHECK (status IN ('scheduled', 'open', 'indeterminate')),
    why             text         NOT NULL,   -- the missing fact, where indeterminate
    provisional     boolean      NOT NULL,
    keep_through    date,
    purge_from      timestamptz,
    must_purge_by   timestamptz,
    UNIQUE NULLS NOT DISTINCT (entity, category, scheme, anchor_state, anchor_day),
    CHECK ((status = 'scheduled') = (purge_from IS NOT NULL)),
    CHECK (must_purge_by >= purge_from)
);
CREATE INDEX deadline_key_due ON deadline_key (purge_from) WHERE status = 'scheduled';

CREATE TABLE record (
    id             bigint       GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    holder         text         NOT NULL,
    category       text         NOT NULL,
    record_id      text         NOT NULL,
    entity         text         NOT NULL,
    customer_id    text,
    document       text,                    -- the group of documents it belongs to
    scheme         text         NOT NULL DEFAULT '',
    key            bigint       REFERENCES deadline_key,
    chunk          uuid,                    -- the purge it is part of at present
    not_before     timestamptz,             -- a holder refused it until then
    registered_at  timestamptz  NOT NULL,
    UNIQUE (holder, category, record_id)
);
CREATE INDEX record_key ON record (key) WHERE chunk IS NULL;
CREATE INDEX record_chunk ON record (chunk) WHERE chunk IS NOT NULL;
CREATE INDEX record_customer ON record (customer_id);
CREATE INDEX record_document ON record (entity, document) WHERE document IS NOT NULL;

CREATE TABLE legal_hold (
    id           uuid         PRIMARY KEY,
    customer_id  text,
    category     text,
    reason       text         NOT NULL,
    review_on    date         NOT NULL,
    placed_by    text         NOT NULL,
    placed_at    timestamptz  NOT NULL,
    released_by  text,
    released_at  timestamptz,
    CHECK (customer_id IS NOT NULL OR category IS NOT NULL),
    CHECK ((released_by IS NULL) = (released_at IS NULL))
);

-- Raised by every change of a hold; a purge command from before is void.
CREATE TABLE hold_epoch (
    alone  boolean  PRIMARY KEY DEFAULT true CHECK (alone),
    epoch  bigint   NOT NULL
);
INSERT INTO hold_epoch (epoch) VALUES (0);
