# An image of all scripts. docs/scaling.md, "Containers", has the commands that build and run it.
FROM python:3.11-slim

# The first process of a container ignores SIGTERM: tini is the first one, and passes it on.
ARG APT_PACKAGES=""
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini $APT_PACKAGES \
    && rm --recursive --force /var/lib/apt/lists/*

WORKDIR /app

# From these two files alone, so that a change of the code does not install everything again. The
# libraries of CUDA are chosen by torch, whose build PIP_OPTIONS may choose.
ARG PIP_OPTIONS=""
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
    extras = project['optional-dependencies']; chosen = [e for e in extras if e != 'dev']; \
    print(*project['dependencies'], *(p for e in chosen for p in extras[e]), sep='\n')" \
    > /tmp/requirements.txt \
    && grep --invert-match --extended-regexp '^(cuda|nvidia)-' constraints.txt > /tmp/constraints.txt \
    && pip install --no-cache-dir --requirement /tmp/requirements.txt \
    --constraint /tmp/constraints.txt $PIP_OPTIONS \
    && rm /tmp/*.txt

# What .dockerignore lets through. Any user may read it; data and runs are for any user of group 0.
COPY . .
RUN chmod --recursive a+rX . && mkdir data runs && chmod g+w data runs

# Weights that torchvision downloads: by default they would go into the home, which there is not.
ENV TORCH_HOME=/app/data/torch
USER 1000:0
ENTRYPOINT ["tini", "--"]
CMD ["python", "train.py", "--config", "configs/quickstart.yaml"]
