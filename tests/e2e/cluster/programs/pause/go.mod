module promethios.dev/programs/pause

go 1.24
