"""The launcher: starts Flower's processes, watches over them, and reports how the run goes.

    flower-server start (launcher)
      |-- flower-superlink     Flower's server; listens on loopback only
      |-- gateway              reverse proxy; the only port that stores reach
      |-- flower-superexec     starts the server's app, which trains
      |-- registrar            registers the chain's stores with the SuperLink (with credentials)
      `-- live page            shows the run on this machine

A process that dies is restarted. If the app dies, the run is submitted again and goes on from its
last checkpoint.
"""
