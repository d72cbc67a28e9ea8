-- Requests about the rights of persons.  Who asks, what for and where the answer goes is personal:
-- each case is a record of category rights.case, which retention holds and purges like any holder.

CREATE TABLE rights_case (
    id           text     PRIMARY KEY,
    claim        text     NOT NULL CHECK (claim IN ('access', 'rectify', 'erase', 'restrict',
                                                    'object', 'portability')),
    subjects     text[]   NOT NULL,           -- tokens by which records know the person
    received_on  date     NOT NULL,
    channel      text     NOT NULL,
    email        text,
    name         text,
    locale       text     NOT NULL CHECK (locale IN ('sv', 'en')),
    details      text,
    state        text     NOT NULL CHECK (state IN ('received', 'identity', 'collecting', 'open',
                                                    'decided', 'approved', 'answered', 'closed',
                                                    'withdrawn', 'refused')),
    asked_on     date,
    shown_on     date,
    extended_on  date,
    due_on       date,                        -- NULL: the clock stands still
    four_eyes    boolean  NOT NULL DEFAULT false,
    decided_by   text,
    approved_by  text,
    answered_on  date,
    unseal       bytea,                       -- opens what holders sealed; gone with the answer
    seal_to      text,
    package      text,                        -- what can be fetched, sealed by what the link says
    fetch_by     bytea,                       -- SHA-256 of that
    fetch_until  timestamptz,
    quarantined  boolean  NOT NULL DEFAULT false,
    CHECK (asked_on >= received_on),
    CHECK (shown_on >= asked_on),
    CHECK (shown_on IS NULL OR asked_on IS NOT NULL),
    -- Who decides that data goes out or is erased does not approve it.
    CHECK (approved_by IS NULL OR decided_by IS NOT NULL),
    CHECK (NOT four_eyes OR approved_by <> decided_by),
    CHECK ((answered_on IS NOT NULL) = (state IN ('answered', 'closed', 'refused'))),
    CHECK (fetch_by IS NULL OR num_nulls(package, fetch_until) = 0)
);
CREATE INDEX rights_case_by_due ON rights_case ((coalesce(due_on, 'infinity'::date)), id);
CREATE UNIQUE INDEX rights_case_fetch ON rights_case (fetch_by) WHERE fetch_by IS NOT NULL;

CREATE TABLE rights_decision (
    case_id      text     NOT NULL REFERENCES rights_case ON DELETE CASCADE,
    category     text     NOT NULL,
    decision     text     NOT NULL CHECK (decision IN ('granted', 'partly', 'refused', 'no_data',
                                                       'cannot_identify')),
    article      text     NOT NULL,
    reason       text     NOT NULL,
    records      int      NOT NULL,
    until_first  date,
    until_last   date,
    bound        boolean  NOT NULL,
    by_hand      boolean  NOT NULL,
    PRIMARY KEY (case_id, category)
);

-- What each holder was asked to do for a case, about up to 500 records of a category.
CREATE TABLE rights_task (
    id           uuid         PRIMARY KEY,
    case_id      text         NOT NULL REFERENCES rights_case ON DELETE CASCADE,
    holder       text         NOT NULL,
    category     text         NOT NULL,
    action       text         NOT NULL CHECK (action IN ('collect', 'export', 'rectify', 'restrict',
                                                         'lift', 'object')),
    refs         text[]       NOT NULL CHECK (cardinality(refs) BETWEEN 1 AND 500),
    state        text         NOT NULL CHECK (state IN ('asked', 'by-hand', 'done')),
    attempts     int          NOT NULL DEFAULT 1,
    next_try_at  timestamptz,
    records      int,
    object       text,                        -- where the sealed copy is laid
    done_by      text,                        -- who did it by hand
    CHECK ((state = 'asked') = (next_try_at IS NOT NULL))
);
CREATE INDEX rights_task_case ON rights_task (case_id);
CREATE INDEX rights_task_waiting ON rights_task (next_try_at) WHERE state = 'asked';

-- Erasures that were approved for when the services end for which the record is needed.
CREATE TABLE rights_erasure (
    record   bigint  PRIMARY KEY,
    case_id  text    NOT NULL,
    by       text    NOT NULL
);
