"""The shared object that all compiled modules are in, which `wire._impl` finds there."""
