"""The command; what it imports may lie in wheels, which have to be found first."""

from jobs.bench.gpu.wheels import add_wheels

if __name__ == "__main__":
    add_wheels()

    import typer

    from jobs.bench.gpu.command import gpu

    typer.run(gpu)
