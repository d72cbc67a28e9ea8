-- Whether the law sets a minimum: what is kept by law for an unknown time is not erased on request.
ALTER TABLE deadline_key ADD statutory boolean NOT NULL DEFAULT false;

-- Requests to erase that were accepted: the record goes when neither a statute nor a hold keeps it.
CREATE TABLE erasure (
    record       bigint       PRIMARY KEY,
    accepted_on  date         NOT NULL,
    accepted_by  text         NOT NULL,
    accepted_at  timestamptz  NOT NULL
);
