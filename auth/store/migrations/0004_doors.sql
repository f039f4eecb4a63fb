-- Where many may write at once, transactions take turns by locking rows here: a
-- sign-in one of the doors, by its address; what changes who may pass locks "feed",
-- and all doors behind it.
INSERT INTO counters (name, value) VALUES
    ('door0', 0), ('door1', 0), ('door2', 0), ('door3', 0), ('door4', 0), ('door5', 0), ('door6', 0), ('door7', 0),
    ('door8', 0), ('door9', 0), ('doora', 0), ('doorb', 0), ('doorc', 0), ('doord', 0), ('doore', 0), ('doorf', 0);
