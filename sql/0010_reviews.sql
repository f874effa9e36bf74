-- Verdicts: what was judged, as it was then; and verdicts that were taken back.

ALTER TABLE review
    ADD COLUMN heard timestamptz NOT NULL DEFAULT now(),   -- when it reached this program; `at` is when it was given
    ADD COLUMN model text,                  -- what made the claim that was judged; NULL: its evidence does not say
    ADD COLUMN confidence double precision, -- of the claim that was judged
    ADD COLUMN overturned timestamptz,      -- when a person took it back; from then on it counts nowhere
    ADD COLUMN overturned_by text;

UPDATE review AS r SET model = d.evidence ->> 'model', confidence = d.confidence, heard = r.at
FROM discrepancy AS d WHERE d.key = r.key;

CREATE INDEX review_at ON review (at);

-- A step that a mapper took in MapRoulette is one verdict, whatever name he has when it is read.
CREATE UNIQUE INDEX review_of_task ON review ((detail ->> 'task'), verdict, at) WHERE came_by = 'maproulette';

-- How far MapRoulette was listened to: "verdicts" and "reviews", each with the newest moment that was read; "all", when
-- everything was last gone through. A feed is read from a little before, so that nothing is missed that came meanwhile.
CREATE TABLE maproulette_heard (
    feed text PRIMARY KEY,
    upto timestamptz NOT NULL
);

-- What people wrote about tasks. A comment may come before its verdict, with it, or later.
CREATE TABLE maproulette_comment (
    id   bigint PRIMARY KEY,                -- the server's
    task bigint NOT NULL,                   -- the server's
    who  text,
    at   timestamptz NOT NULL,
    text text NOT NULL
);
CREATE INDEX maproulette_comment_task ON maproulette_comment (task, id);

-- Challenges whose comments are to be read, because something about their tasks was heard.
CREATE TABLE maproulette_uncommented (
    challenge bigint PRIMARY KEY            -- the server's
);

-- Challenges that were paused and go on: verdicts count from then on, beyond those that the server had and we had not heard.
CREATE TABLE maproulette_resumed (
    challenge integer PRIMARY KEY REFERENCES maproulette_challenge (id) ON DELETE CASCADE,
    at        timestamptz NOT NULL,
    fixed     integer NOT NULL,
    false_positive integer NOT NULL
);

-- What the ranking chose to show, with how likely it was to: what other rules would have brought can be estimated from it.
CREATE TABLE ranking_round (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL,
    candidates integer NOT NULL,            -- among which it chose
    places     integer NOT NULL,            -- that there were
    draws      integer NOT NULL             -- that the probabilities are estimated from; 0: there was room for all
);

CREATE TABLE ranking_choice (
    round       bigint NOT NULL REFERENCES ranking_round (id) ON DELETE CASCADE,
    key         text NOT NULL REFERENCES discrepancy (key) ON DELETE CASCADE,
    place       integer NOT NULL,           -- in the order of showing, from 1
    detector    text NOT NULL,
    kind        text NOT NULL,
    band        smallint NOT NULL,          -- of the confidence, in tenths
    area        text NOT NULL,              -- a tile, "z/x/y"
    model       text NOT NULL,
    confidence  double precision NOT NULL,
    score       double precision NOT NULL,
    probability double precision NOT NULL CHECK (probability > 0 AND probability <= 1),
    by_confidence integer NOT NULL,         -- its place among all candidates in the order of confidence, from 1
    PRIMARY KEY (round, key)
);
CREATE INDEX ranking_choice_key ON ranking_choice (key, round);
