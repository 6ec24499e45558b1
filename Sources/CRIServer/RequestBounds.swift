internal import CRIModel

/// How large the parts of a request may be. Everything that is kept is kept in memory and in records, and shown in every
/// list: what no pod needs is refused by its field before anything is made of it. Pure.
enum RequestBounds {
  /// A name, namespace or uid, bytes; Kubernetes' own are at most 253.
  static let nameBytesMax = 1024
  /// Keys and values of all labels together, bytes.
  static let labelsBytesMax = 128 << 10
  /// Keys and values of all annotations together, bytes: Kubernetes' 256 KiB, and what a kubelet adds.
  static let annotationsBytesMax = 512 << 10
  /// A path, bytes, with its end: PATH_MAX.
  static let pathBytesMax = 4096
  /// One argument or variable, bytes, with its end: MAX_ARG_STRLEN.
  static let argumentBytesMax = 128 << 10
  /// All arguments and variables together, bytes; the kernel takes a quarter of the 8 MiB that a stack usually has.
  static let argumentsBytesMax = 2 << 20
  static let argumentsMax = 16_384
  static let mountsMax = 200
  static let devicesMax = 256
  static let groupsMax = 65_536
  /// Sysctls, hugepage limits, unified settings, port mappings, capabilities, masked paths: of each so many.
  static let entriesMax = 1024
  /// A request as it is kept on disk, bytes; half of what is read back of a record.
  static let requestBytesMax = 2 << 20

  static func check(_ config: CRIPodSandboxConfig) throws(RequestRefusal) {
    let metadata = config.metadata
    for (field, text) in [
      ("metadata.name", metadata.name), ("metadata.namespace", metadata.namespace), ("metadata.uid", metadata.uid),
    ] {
      try name(text, "config.\(field)")
    }
    try map(config.labels, "config.labels", labelsBytesMax)
    try map(config.annotations, "config.annotations", annotationsBytesMax)
    try path(config.logDirectory, "config.log_directory")
    try path(config.linux.cgroupParent, "config.linux.cgroup_parent")
    try map(config.linux.sysctls, "config.linux.sysctls", labelsBytesMax)
    try count(config.linux.sysctls.count, "config.linux.sysctls")
    try count(config.portMappings.count, "config.port_mappings")
    let dns = config.dnsConfig
    try texts(dns.servers + dns.searches + dns.options, "config.dns_config", entriesMax, labelsBytesMax)
    try resources(config.linux.resources, "config.linux.resources")
    try resources(config.linux.overhead, "config.linux.overhead")
  }

  static func check(_ config: CRIContainerConfig) throws(RequestRefusal) {
    try name(config.metadata.name, "metadata.name")
    try path(config.image.image, "image.image")
    try path(config.image.userSpecifiedImage, "image.user_specified_image")
    try map(config.labels, "labels", labelsBytesMax)
    try map(config.annotations, "annotations", annotationsBytesMax)
    try map(config.image.annotations, "image.annotations", annotationsBytesMax)
    try path(config.logPath, "log_path")
    try path(config.workingDir, "working_dir")
    try arguments(config)
    try count(config.mounts.count, "mounts", mountsMax)
    for (index, mount) in config.mounts.enumerated() {
      try path(mount.containerPath, "mounts[\(index)].container_path")
      try path(mount.hostPath, "mounts[\(index)].host_path")
      try path(mount.imageSubPath, "mounts[\(index)].image_sub_path")
      try count(mount.uidMappings.count, "mounts[\(index)].uidMappings")
      try count(mount.gidMappings.count, "mounts[\(index)].gidMappings")
    }
    try count(config.devices.count, "devices", devicesMax)
    for (index, device) in config.devices.enumerated() {
      try path(device.containerPath, "devices[\(index)].container_path")
      try path(device.hostPath, "devices[\(index)].host_path")
      try name(device.permissions, "devices[\(index)].permissions")
    }
    try texts(config.cdiDevices.map(\.name), "CDI_devices", CDIRegistry.devicesMax, labelsBytesMax)
    try security(config.linux.securityContext)
    try resources(config.linux.resources, "linux.resources")
  }

  private static func security(_ security: CRILinuxContainerSecurityContext) throws(RequestRefusal) {
    let field = "linux.security_context"
    let capabilities = security.capabilities
    for (name, list) in [
      ("capabilities.add_capabilities", capabilities.addCapabilities),
      ("capabilities.drop_capabilities", capabilities.dropCapabilities),
      ("capabilities.add_ambient_capabilities", capabilities.addAmbientCapabilities),
    ] {
      try texts(list, "\(field).\(name)", entriesMax, labelsBytesMax)
    }
    try count(security.supplementalGroups.count, "\(field).supplemental_groups", groupsMax)
    try name(security.runAsUsername, "\(field).run_as_username")
    for (name, list) in [("masked_paths", security.maskedPaths), ("readonly_paths", security.readonlyPaths)] {
      try count(list.count, "\(field).\(name)")
      for entry in list { try path(entry, "\(field).\(name)") }
    }
    try path(security.seccomp.localhostRef, "\(field).seccomp.localhost_ref")
    try path(security.apparmor.localhostRef, "\(field).apparmor.localhost_ref")
  }

  private static func arguments(_ config: CRIContainerConfig) throws(RequestRefusal) {
    try texts(config.command, "command", argumentsMax, argumentsBytesMax, each: argumentBytesMax)
    try texts(config.args, "args", argumentsMax, argumentsBytesMax, each: argumentBytesMax)
    try count(config.envs.count, "envs", argumentsMax)
    var total = config.command.reduce(0) { $0 + $1.utf8.count } + config.args.reduce(0) { $0 + $1.utf8.count }
    for (index, variable) in config.envs.enumerated() {
      let bytes = variable.key.utf8.count + variable.value.utf8.count + 2
      try size(bytes, "envs[\(index)]", argumentBytesMax)
      total += bytes
    }
    try size(total, "envs", argumentsBytesMax)
  }

  static func resources(_ resources: CRILinuxContainerResources, _ field: String) throws(RequestRefusal) {
    try map(resources.unified, "\(field).unified", labelsBytesMax)
    try count(resources.unified.count, "\(field).unified")
    try count(resources.hugepageLimits.count, "\(field).hugepage_limits")
    for limit in resources.hugepageLimits { try name(limit.pageSize, "\(field).hugepage_limits.page_size") }
    try path(resources.cpusetCpus, "\(field).cpuset_cpus")
    try path(resources.cpusetMems, "\(field).cpuset_mems")
  }

  // MARK: Kinds of bounds

  private static func size(_ bytes: Int, _ field: String, _ bytesMax: Int) throws(RequestRefusal) {
    guard bytes <= bytesMax else { throw .invalid(field, "has \(bytes) bytes, at most \(bytesMax) are taken") }
  }

  private static func count(_ number: Int, _ field: String, _ numberMax: Int = entriesMax) throws(RequestRefusal) {
    guard number <= numberMax else { throw .invalid(field, "has \(number) entries, at most \(numberMax) are taken") }
  }

  private static func name(_ text: String, _ field: String) throws(RequestRefusal) {
    try size(text.utf8.count, field, nameBytesMax)
  }

  private static func path(_ text: String, _ field: String) throws(RequestRefusal) {
    try size(text.utf8.count, field, pathBytesMax - 1)
  }

  private static func map(_ entries: [String: String], _ field: String, _ bytesMax: Int) throws(RequestRefusal) {
    try size(entries.reduce(0) { $0 + $1.key.utf8.count + $1.value.utf8.count }, field, bytesMax)
  }

  private static func texts(
    _ texts: [String], _ field: String, _ numberMax: Int, _ bytesMax: Int, each: Int? = nil
  ) throws(RequestRefusal) {
    try count(texts.count, field, numberMax)
    try size(texts.reduce(0) { $0 + $1.utf8.count + 1 }, field, bytesMax)
    if let each {
      for (index, text) in texts.enumerated() { try size(text.utf8.count + 1, "\(field)[\(index)]", each) }
    }
  }
}
