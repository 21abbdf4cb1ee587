# docker build -t opsbot .
# The installation is docker/install.sh, the same script that `make run` uses.
FROM python:3.11-slim AS build
WORKDIR /src
COPY . .
RUN PYTHON=python3 sh docker/install.sh /opt/opsbot requirements.lock

FROM python:3.11-slim
RUN useradd --system --create-home --home-dir /var/lib/opsbot opsbot
COPY --from=build /opt/opsbot /opt/opsbot
USER opsbot
WORKDIR /var/lib/opsbot
VOLUME /var/lib/opsbot
ENV PATH=/opt/opsbot/bin:$PATH OPSBOT_SERVER__HOST=0.0.0.0 PYTHONUNBUFFERED=1
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["opsbot", "alive", "--config", "/etc/opsbot/opsbot.toml"]
ENTRYPOINT ["opsbot"]
CMD ["run", "--config", "/etc/opsbot/opsbot.toml"]
