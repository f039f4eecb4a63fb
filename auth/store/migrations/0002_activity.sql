-- What happened in each hour (span 3600000) and day (86400000) of UTC that is
-- over. Prune writes a row when its time has passed, from the events, which it
-- may then take away.
CREATE TABLE activity (
    span     BIGINT NOT NULL,
    start    BIGINT NOT NULL,
    sign_ins BIGINT NOT NULL,
    denied   BIGINT NOT NULL,
    people   BIGINT NOT NULL,
    PRIMARY KEY (span, start)
);

-- What is not over yet is counted from this index alone; it also finds where in
-- the trail a moment lies.
CREATE INDEX events_at ON events (at, kind, user_id);
CREATE INDEX events_actor ON events (actor, id);
CREATE INDEX events_address ON events (address, id);
