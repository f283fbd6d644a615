"""The node on the network: transport, the resident loop, enrolment. Everything here is outbound."""
