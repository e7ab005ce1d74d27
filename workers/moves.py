"""Moves that Redis makes in one step: a message is in one list at any moment, whoever dies."""

from __future__ import annotations

EXCHANGE = """
local now = redis.call('time')[1]
redis.call('zadd', KEYS[3], now, ARGV[1])
for place = 3, #ARGV do redis.call('lrem', KEYS[2], 1, ARGV[place]) end
local taken = {}
for place = 1, tonumber(ARGV[2]) do
    local body = redis.call('lmove', KEYS[1], KEYS[2], 'LEFT', 'RIGHT')
    if not body then break end
    taken[place] = body
end
return taken
"""
GIVE_BACK = """
for place = #ARGV, 1, -1 do
    if redis.call('lrem', KEYS[2], 1, ARGV[place]) > 0 then
        redis.call('lpush', KEYS[1], ARGV[place])
    end
end
"""
SEND_ONCE = """
for _, body in ipairs(ARGV) do
    if not redis.call('lpos', KEYS[1], body) then redis.call('rpush', KEYS[1], body) end
end
"""
INHERIT = """
local now = redis.call('time')[1]
local gone = redis.call('zrangebyscore', KEYS[1], '-inf', now - ARGV[2])
local inherited = {}
for _, process in ipairs(gone) do
    for place = 4, #ARGV do
        local held = ARGV[1] .. ':held:' .. process .. ':' .. ARGV[place]
        local mine = ARGV[1] .. ':held:' .. ARGV[3] .. ':' .. ARGV[place]
        local body = redis.call('lmove', held, mine, 'RIGHT', 'LEFT')
        while body do
            table.insert(inherited, {ARGV[place], body})
            body = redis.call('lmove', held, mine, 'RIGHT', 'LEFT')
        end
    end
    redis.call('zrem', KEYS[1], process)
end
if #inherited > 0 then redis.call('zadd', KEYS[1], now, ARGV[3]) end
return {#gone, inherited}
"""
