# For gdb on a machine of Understudy's: gdb -x tools/debug.gdb ...
# Monitor commands may move the machine without gdb's knowing: have it look again after each.
define hookpost-monitor
  maintenance flush register-cache
  maintenance flush dcache
end
