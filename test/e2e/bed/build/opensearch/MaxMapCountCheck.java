package org.opensearch.bootstrap;

/** As FileDescriptorCheck: the bed changes no setting of the machine's kernel, here vm.max_map_count. */
class BootstrapChecks$MaxMapCountCheck implements BootstrapCheck {
  public BootstrapCheckResult check(BootstrapContext context) {
    return BootstrapCheckResult.success();
  }
}
