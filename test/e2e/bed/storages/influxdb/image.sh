# InfluxDB 1.6 from Debian, server and client.
packages influxdb influxdb-client
version=$(installed influxdb)
