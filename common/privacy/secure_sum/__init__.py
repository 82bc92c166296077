"""A sum of the stores' vectors that the server can read, while it can read no single one.

Bonawitz et al.: Practical Secure Aggregation for Privacy-Preserving Machine Learning. CCS 2017,
without its consistency round (`neighbourhoods` has the argument), and bound to the order.

       store i                                server                        store j
         |  keys, signed                        |                    keys, signed |
         | -----------------------------------> | <------------------------------ |   advertise
         |            everybody's keys, threshold, SHA-256 of the order           |
         | <----------------------------------- | ------------------------------> |
         |  shares of i's secrets, sealed for j |        of j's, sealed for i     |   share
         | -----------------------------------> | <------------------------------ |
         |                  the shares that were sealed for each                  |
         | <----------------------------------- | ------------------------------> |
         |  x_i + self mask + mask with j       |  x_j + self mask - mask with i  |   mask
         | -----------------------------------> | <------------------------------ |
         |                   whose vectors have come (survivors)                  |
         | <----------------------------------- | ------------------------------> |
         |  of each survivor a share of the seed of its self mask,                |   unmask
         |  of each other one a share of its mask key; keys for the next round    |
         | -----------------------------------> | <------------------------------ |
         |                                sum of x

`SumStore` is a store, `SumServer` the server; neither knows of processes, networks or files.
"""
