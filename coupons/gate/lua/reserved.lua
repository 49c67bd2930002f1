-- Returns how many reservations a gate holds, or -1 where it has to be loaded. KEYS as in admit.lua; no ARGV.
local _, reserved = known(KEYS[1], KEYS[2], nil)
return reserved or -1
