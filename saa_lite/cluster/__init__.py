"""Where the workers of a campaign run: processes of this machine, a SLURM cluster, SSH machines.

A worker is a process that runs ``saa-lite campaign run``; whom it shares with it learns from the
folder alone. The engines only start workers. Those beyond this machine are an extra, imported where
they are asked for::

    pip install "saa_lite[cluster]"
"""
