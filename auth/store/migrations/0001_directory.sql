-- The directory and the feed of revocations. Plain SQL that SQLite and
-- PostgreSQL take alike; SERIAL_KEY is the one word that the engine fills in.
-- All times are milliseconds since 1970; 0 stands for "never".

CREATE TABLE users (
    id             TEXT PRIMARY KEY,
    issuer         TEXT NOT NULL,
    subject        TEXT NOT NULL,
    email          TEXT NOT NULL,
    email_verified BOOLEAN NOT NULL,
    name           TEXT NOT NULL,
    picture        TEXT NOT NULL,
    hosted_domain  TEXT NOT NULL,
    search         TEXT NOT NULL, -- address and name, case folded
    first_sign_in  BIGINT NOT NULL,
    last_sign_in   BIGINT NOT NULL,
    last_seen      BIGINT NOT NULL,
    sign_ins       BIGINT NOT NULL
);
CREATE INDEX users_email ON users (email);
-- A search walks this index alone, ten times faster than the table.
CREATE INDEX users_last_seen ON users (last_seen, id, search);
CREATE INDEX users_first_sign_in ON users (first_sign_in, id);

-- Who signed in last with a verified address, even if that account has moved to
-- another address since.
CREATE TABLE holders (
    email   TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX holders_user ON holders (user_id);

CREATE TABLE sessions (
    id         TEXT PRIMARY KEY,
    user_id    TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    email      TEXT NOT NULL,
    created    BIGINT NOT NULL,
    expires    BIGINT NOT NULL,
    last_seen  BIGINT NOT NULL,
    address    TEXT NOT NULL,
    agent      TEXT NOT NULL,
    ended_at   BIGINT NOT NULL DEFAULT 0,
    ended_by   TEXT NOT NULL DEFAULT '',
    end_reason TEXT NOT NULL DEFAULT ''
);
CREATE INDEX sessions_created ON sessions (created, id);
CREATE INDEX sessions_user ON sessions (user_id, created, id);
CREATE INDEX sessions_expires ON sessions (expires);

-- A block names an account, an address, or one pair of them. It has no foreign
-- key on purpose: it outlives the user. Its id is the feed's number of the day.
CREATE TABLE blocks (
    id      BIGINT PRIMARY KEY,
    user_id TEXT NOT NULL,
    email   TEXT NOT NULL,
    actor   TEXT NOT NULL,
    at      BIGINT NOT NULL,
    reason  TEXT NOT NULL,
    UNIQUE (user_id, email)
);
CREATE INDEX blocks_email ON blocks (email);

-- The feed. A later row of the same kind and key replaces the earlier one.
CREATE TABLE revocations (
    kind    TEXT NOT NULL,
    key     TEXT NOT NULL,
    seq     BIGINT NOT NULL UNIQUE,
    active  BOOLEAN NOT NULL,
    at      BIGINT NOT NULL,
    expires BIGINT NOT NULL, -- 0: never
    PRIMARY KEY (kind, key)
);
CREATE INDEX revocations_expires ON revocations (expires);

-- "feed" is raised in every transaction that writes to the feed: whoever raises
-- it holds it until the commit, so numbers become visible in their order.
-- "longest" is the longest life, in ms, that a session was ever given: what began
-- before is not open any more.
CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('feed', 0), ('longest', 0);

CREATE TABLE events (
    id         SERIAL_KEY,
    at         BIGINT NOT NULL,
    kind       TEXT NOT NULL,
    actor      TEXT NOT NULL,
    user_id    TEXT NOT NULL,
    email      TEXT NOT NULL,
    session_id TEXT NOT NULL,
    address    TEXT NOT NULL,
    detail     TEXT NOT NULL
);
CREATE INDEX events_kind ON events (kind, id);
CREATE INDEX events_user ON events (user_id, id);
CREATE INDEX events_email ON events (email, id);
