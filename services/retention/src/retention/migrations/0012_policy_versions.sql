-- Every version of every policy that was put in force: data is kept as promised when its clock
-- started, so none is ever forgotten.  What was in force before this migration comes back, from its
-- file, at the next start.
DROP TABLE policy;
CREATE TABLE policy_version (
    category      text         NOT NULL,
    version       int          NOT NULL,
    body          jsonb        NOT NULL,    -- the whole policy
    sha256        bytea        NOT NULL,
    activated_at  timestamptz  NOT NULL,
    plan          bytea,                    -- NULL: with no data, there was nothing to plan
    PRIMARY KEY (category, version)
);

-- What a change would do, bound by its hash, until two people approve it.
CREATE TABLE policy_plan (
    sha256      bytea        PRIMARY KEY,
    basis       bytea        NOT NULL,     -- of what it rests on; another one makes it outdated
    policies    jsonb        NOT NULL,     -- the new versions
    effect      jsonb        NOT NULL,     -- what was shown to those who approve
    made_at     timestamptz  NOT NULL,
    first_by    text,
    first_at    timestamptz,
    second_by   text,
    applied_at  timestamptz,
    CHECK ((first_by IS NULL) = (first_at IS NULL)),
    CHECK ((second_by IS NULL) = (applied_at IS NULL)),
    CHECK (second_by IS NULL OR first_by IS NOT NULL),
    CHECK (second_by <> first_by)
);
