-- What the simulated platform stores about people.  One table for each holder and category.

CREATE TABLE account (              -- portal: account.master
    record_id    text     PRIMARY KEY,
    customer_id  text     NOT NULL,
    name         text     NOT NULL,
    email        text     NOT NULL,
    quarantined  boolean  NOT NULL DEFAULT false
);

CREATE TABLE invoice (              -- billing: billing.invoice
    record_id    text     PRIMARY KEY,
    customer_id  text     NOT NULL,
    booked_on    date     NOT NULL,
    contact      text     NOT NULL,
    quarantined  boolean  NOT NULL DEFAULT false
);

CREATE TABLE billing_contact (      -- billing: billing.contact
    record_id    text     PRIMARY KEY,
    customer_id  text     NOT NULL,
    email        text     NOT NULL,
    quarantined  boolean  NOT NULL DEFAULT false
);

CREATE TABLE lead (                 -- crm: lead.form
    record_id    text     PRIMARY KEY,
    name         text     NOT NULL,
    email        text     NOT NULL,
    last_contact date     NOT NULL,
    quarantined  boolean  NOT NULL DEFAULT false
);
