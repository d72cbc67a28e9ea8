-- The report of each month, as it was issued and told of by mail.
CREATE TABLE month_report (
    month      date         PRIMARY KEY CHECK (extract(day FROM month) = 1),
    sha256     bytea        NOT NULL CHECK (length(sha256) = 32),   -- of the body; the master log has it
    body       bytea        NOT NULL,                               -- a PDF
    issued_at  timestamptz  NOT NULL
);
