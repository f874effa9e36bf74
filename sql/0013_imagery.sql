-- By how much imagery is shifted against the map, place by place.

CREATE TABLE imagery_offset (
    source text NOT NULL, -- as in the configuration
    x integer NOT NULL, -- column and row of a tile of zoom 16 (daemon.imagery.offsets.CELL_ZOOM)
    y integer NOT NULL,
    east_m double precision NOT NULL, -- from the map to the imagery, true metres; a mean of the looks, old ones fading
    north_m double precision NOT NULL,
    spread_m double precision NOT NULL, -- by how much a look is usually off that mean
    looks bigint NOT NULL,
    first_look timestamptz NOT NULL,
    last_look timestamptz NOT NULL,
    PRIMARY KEY (source, x, y)
);
