# SPDX-License-Identifier: Apache-2.0
# tclsh echo_config.tcl LIST_NAME...: evaluates the script on standard input and prints every variable flow_* as
# "NAME HEX...": its value in UTF-8, as hexadecimal digits between brackets; each element of it if it is a LIST_NAME.
fconfigure stdin -encoding ascii
eval [read stdin]
proc hex {text} {
    return "<[binary encode hex [encoding convertto utf-8 $text]]>"
}
foreach name [info vars flow_*] {
    # no expr ?: here, which would turn 00 into 0
    if {$name in $argv} {
        set words [set $name]
    } else {
        set words [list [set $name]]
    }
    set line $name
    foreach word $words {
        append line " [hex $word]"
    }
    puts $line
}
