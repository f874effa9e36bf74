-- What a user's own style may look like: areas and lines in tables of other names, in lon/lat, all tags in one column.
local areas = osm2pgsql.define_area_table('areas', {
    { column = 'tags', type = 'jsonb' },
    { column = 'geom', type = 'geometry', projection = 4326 },
})
local ways = osm2pgsql.define_way_table('streets', {
    { column = 'tags', type = 'jsonb' },
    { column = 'geom', type = 'linestring', projection = 3857 },
})
local everything = osm2pgsql.define_table({
    name = 'houses',
    ids = { type = 'any', id_column = 'id', type_column = 'osm_type' },
    columns = { { column = 'geom', type = 'geometry', projection = 3857 } },
})

local line_keys = { 'highway', 'barrier', 'railway', 'waterway', 'power', 'route', 'aerialway' }

local function is_area(object)
    local tags = object.tags
    if not object.is_closed then return false end
    if tags.building or tags['building:part'] then return true end
    if tags.area then return tags.area ~= 'no' end
    for _, key in ipairs(line_keys) do
        if tags[key] then return false end
    end
    return true
end

function osm2pgsql.process_way(object)
    if is_area(object) then
        areas:insert({ tags = object.tags, geom = object:as_polygon() })
        if object.tags.building then
            everything:insert({ geom = object:as_polygon() })
        end
    else
        ways:insert({ tags = object.tags, geom = object:as_linestring() })
    end
end

function osm2pgsql.process_relation(object)
    if object.tags.type == 'multipolygon' or object.tags.type == 'boundary' then
        areas:insert({ tags = object.tags, geom = object:as_multipolygon() })
        if object.tags.building then
            everything:insert({ geom = object:as_multipolygon() })
        end
    end
end
