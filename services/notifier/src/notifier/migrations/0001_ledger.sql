-- Who may be written to, what was to be said, and which recipient got which mail.

-- The only place where addresses lie.  A token says nothing about the address.
CREATE TABLE recipient (
    token   text   PRIMARY KEY,
    lookup  bytea  NOT NULL UNIQUE,      -- HMAC of the address, to find it again
    email   text   NOT NULL
);

CREATE TABLE contact (
    customer_id    text     NOT NULL,
    contact_id     text     NOT NULL,
    record_id      text     NOT NULL UNIQUE,   -- what retention knows it by
    recipient      text     NOT NULL REFERENCES recipient,
    roles          text[]   NOT NULL CHECK (cardinality(roles) > 0),
    locale         text     NOT NULL CHECK (locale IN ('sv', 'en')),
    kind           text     NOT NULL CHECK (kind IN ('person', 'group')),
    subject_token  text     NOT NULL,
    verified       boolean  NOT NULL DEFAULT false,
    removed        boolean  NOT NULL DEFAULT false,
    quarantined    boolean  NOT NULL DEFAULT false,
    PRIMARY KEY (customer_id, contact_id)
);
CREATE INDEX contact_recipient ON contact (recipient);

CREATE TABLE service (
    customer_id  text         NOT NULL,
    service_id   text         NOT NULL,
    running      boolean      NOT NULL,
    since        timestamptz  NOT NULL,    -- when the last step that counts took effect
    PRIMARY KEY (customer_id, service_id)
);

CREATE TABLE message (
    message_id   text         PRIMARY KEY,
    type         text         NOT NULL,
    template     text         NOT NULL,
    params       jsonb,                    -- NULL: the body was purged
    requested_at timestamptz  NOT NULL,
    send_after   timestamptz,
    send_before  timestamptz,
    quarantined  boolean      NOT NULL DEFAULT false,
    done_at      timestamptz
);

CREATE TABLE delivery (
    id            uuid         PRIMARY KEY,
    message_id    text         NOT NULL REFERENCES message,
    customer_id   text,
    recipient     text         NOT NULL,   -- a token; after the purge one that leads nowhere
    locale        text         NOT NULL,
    state         text         NOT NULL CHECK (state IN ('queued', 'sending', 'accepted', 'deferred',
                                                         'bounced', 'suppressed', 'expired', 'unknown')),
    attempts      int          NOT NULL DEFAULT 0,
    next_try_at   timestamptz,
    worker        bigint,                  -- who is sending it; its advisory lock says if it lives
    reply         text,                    -- the mail server's code, without its text
    changed_at    timestamptz  NOT NULL,
    quarantined   boolean      NOT NULL DEFAULT false,
    anonymised    boolean      NOT NULL DEFAULT false,
    -- One mail for each recipient of a message, whatever is delivered twice.
    UNIQUE (message_id, recipient),
    CHECK ((next_try_at IS NOT NULL) = (state IN ('queued', 'deferred'))),
    CHECK ((worker IS NOT NULL) = (state = 'sending'))
);
CREATE INDEX delivery_waiting ON delivery (next_try_at) WHERE next_try_at IS NOT NULL;
CREATE INDEX delivery_sending ON delivery (worker) WHERE worker IS NOT NULL;
CREATE INDEX delivery_open ON delivery (message_id) WHERE state IN ('queued', 'sending', 'deferred');
CREATE INDEX delivery_recipient ON delivery (recipient);
CREATE INDEX delivery_customer ON delivery (customer_id, changed_at);

CREATE TABLE alert (
    fingerprint  text         PRIMARY KEY,
    severity     text         NOT NULL,
    summary      text         NOT NULL,
    raised_at    timestamptz  NOT NULL,
    resolved_at  timestamptz,
    rounds       int          NOT NULL DEFAULT 1
);
