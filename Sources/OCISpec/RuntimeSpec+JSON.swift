package import JSON

extension RuntimeSpec {
  /// Reads a `config.json`.
  ///
  /// Unknown members are ignored, as the specification says. What it defines and Martlet does not do is refused by name.
  package init(json: JSONValue) throws(RuntimeSpecError) {
    let reader = try RuntimeReader(json, path: "")
    ociVersion = try reader.requiredString("ociVersion")
    guard ociVersion.hasPrefix("1.") else { throw reader.error("ociVersion", "\(ociVersion) is not 1.x") }
    try reader.refuse("hooks", "solaris", "windows", "vm", "zos")
    hostname = try reader.string("hostname") ?? ""
    domainname = try reader.string("domainname") ?? ""
    annotations = try reader.stringMap("annotations")
    guard let root = try reader.object("root") else { throw reader.error("root", "missing") }
    self.root.path = try root.requiredString("path")
    self.root.readonly = try root.bool("readonly") ?? false
    guard let process = try reader.object("process") else { throw reader.error("process", "missing") }
    self.process = try Process(process)
    for mount in try reader.objects("mounts") { mounts.append(try Mount(mount)) }
    if let linux = try reader.object("linux") { self.linux = try Linux(linux) }
  }
}

extension RuntimeSpec.Mount {
  init(_ reader: RuntimeReader) throws(RuntimeSpecError) {
    uidMappings = try RuntimeSpec.IDMapping.list(reader, "uidMappings")
    gidMappings = try RuntimeSpec.IDMapping.list(reader, "gidMappings")
    destination = try reader.requiredString("destination")
    options = try reader.strings("options")
    type = try reader.string("type") ?? (options.contains("bind") || options.contains("rbind") ? "bind" : "none")
    source = try reader.string("source") ?? ""
  }
}

extension RuntimeSpec.IDMapping {
  /// As many as the kernel takes in one map.
  private static let countMax = 340

  static func list(_ reader: RuntimeReader, _ key: String) throws(RuntimeSpecError) -> [RuntimeSpec.IDMapping] {
    var mappings: [RuntimeSpec.IDMapping] = []
    for entry in try reader.objects(key) {
      guard let inside: UInt32 = try entry.integer("containerID"), let outside: UInt32 = try entry.integer("hostID"),
        let size: UInt32 = try entry.integer("size"), size > 0
      else { throw entry.error("size", "containerID, hostID and a size above 0 are needed") }
      mappings.append(RuntimeSpec.IDMapping(containerID: inside, hostID: outside, size: size))
    }
    guard mappings.count <= countMax else { throw reader.error(key, "more than \(countMax) ranges") }
    return mappings
  }
}

extension RuntimeSpec.Process {
  init(_ reader: RuntimeReader) throws(RuntimeSpecError) {
    try reader.refuse("scheduler", "ioPriority", "execCPUAffinity", "commandLine")
    apparmorProfile = try reader.string("apparmorProfile") ?? ""
    selinuxLabel = try reader.string("selinuxLabel") ?? ""
    terminal = try reader.bool("terminal") ?? false
    if let size = try reader.object("consoleSize") {
      consoleRows = try size.integer("height") ?? 0
      consoleColumns = try size.integer("width") ?? 0
    }
    if let user = try reader.object("user") {
      self.user.uid = try user.integer("uid") ?? 0
      self.user.gid = try user.integer("gid") ?? 0
      self.user.umask = try user.integer("umask")
      for group in user.object["additionalGids"]?.array ?? [] {
        guard let number = group.integer.flatMap({ UInt32(exactly: $0) }) else {
          throw user.error("additionalGids", "not a list of group numbers")
        }
        self.user.additionalGroups.append(number)
      }
    }
    arguments = try reader.strings("args")
    environment = try reader.strings("env")
    workingDirectory = try reader.requiredString("cwd")
    if let sets = try reader.object("capabilities") {
      capabilities.bounding = try sets.strings("bounding")
      capabilities.effective = try sets.strings("effective")
      capabilities.permitted = try sets.strings("permitted")
      capabilities.inheritable = try sets.strings("inheritable")
      capabilities.ambient = try sets.strings("ambient")
    }
    for limit in try reader.objects("rlimits") {
      resourceLimits.append(
        RuntimeSpec.ResourceLimit(
          type: try limit.requiredString("type"), soft: try limit.integer("soft") ?? 0,
          hard: try limit.integer("hard") ?? 0))
    }
    noNewPrivileges = try reader.bool("noNewPrivileges") ?? false
    oomScoreAdjust = try reader.integer("oomScoreAdj")
  }
}

extension RuntimeSpec.Linux {
  init(_ reader: RuntimeReader) throws(RuntimeSpecError) {
    try reader.refuse("intelRdt", "personality", "timeOffsets", "netDevices", "memoryPolicy")
    uidMappings = try RuntimeSpec.IDMapping.list(reader, "uidMappings")
    gidMappings = try RuntimeSpec.IDMapping.list(reader, "gidMappings")
    mountLabel = try reader.string("mountLabel") ?? ""
    for entry in try reader.objects("namespaces") {
      let type = try entry.requiredString("type")
      guard let kind = RuntimeSpec.Namespace.Kind(rawValue: type) else {
        throw entry.error("type", "there is no \(type) namespace")
      }
      namespaces.append(RuntimeSpec.Namespace(kind, path: try entry.string("path").flatMap { $0.isEmpty ? nil : $0 }))
    }
    for device in try reader.objects("devices") { devices.append(try RuntimeSpec.Device(device)) }
    sysctls = try reader.stringMap("sysctl")
    maskedPaths = try reader.strings("maskedPaths")
    readonlyPaths = try reader.strings("readonlyPaths")
    rootfsPropagation = try reader.string("rootfsPropagation") ?? ""
    cgroupsPath = try reader.string("cgroupsPath") ?? ""
    if let seccomp = try reader.object("seccomp") { self.seccomp = try RuntimeSpec.Seccomp(seccomp) }
    if let resources = try reader.object("resources") {
      for rule in try resources.objects("devices") { deviceRules.append(try RuntimeSpec.DeviceRule(rule)) }
      self.resources = try RuntimeSpec.Resources(resources)
    }
  }
}

extension RuntimeSpec.Device {
  init(_ reader: RuntimeReader) throws(RuntimeSpecError) {
    let type = try reader.requiredString("type")
    guard let kind = Kind(rawValue: type == "u" ? "c" : type) else {
      throw reader.error("type", "\(type) is no type of device")
    }
    let mode: UInt32 = try reader.integer("fileMode") ?? 0o666
    self.init(
      kind: kind, path: try reader.requiredString("path"), major: try reader.integer("major") ?? 0,
      minor: try reader.integer("minor") ?? 0, mode: mode & 0o7777, uid: try reader.integer("uid") ?? 0,
      gid: try reader.integer("gid") ?? 0)
  }
}

extension RuntimeSpec.DeviceRule {
  init(_ reader: RuntimeReader) throws(RuntimeSpecError) {
    let type = try reader.string("type") ?? "a"
    guard let kind = Kind(rawValue: type.isEmpty ? "a" : type) else {
      throw reader.error("type", "\(type) is no type of device")
    }
    let access = try reader.string("access") ?? "rwm"
    guard access.allSatisfy({ "rwm".contains($0) }) else { throw reader.error("access", "\(access): only r, w and m") }
    guard let allow = try reader.bool("allow") else { throw reader.error("allow", "missing") }
    func number(_ key: String) throws(RuntimeSpecError) -> UInt32? {
      guard let value: Int64 = try reader.integer(key), value != -1 else { return nil }
      guard let exact = UInt32(exactly: value) else { throw reader.error(key, "\(value) is out of range") }
      return exact
    }
    self.init(
      allow: allow, kind: kind, major: try number("major"), minor: try number("minor"),
      access: access.isEmpty ? "rwm" : access)
  }
}

extension RuntimeSpec.Resources {
  init(_ reader: RuntimeReader) throws(RuntimeSpecError) {
    try reader.refuse("network", "rdma")
    if let memory = try reader.object("memory") {
      try memory.refuse("kernel", "kernelTCP", "swappiness", "disableOOMKiller")
      memoryLimitBytes = try memory.integer("limit")
      memoryReservationBytes = try memory.integer("reservation")
      memorySwapBytes = try memory.integer("swap")
    }
    if let cpu = try reader.object("cpu") {
      try cpu.refuse("realtimeRuntime", "realtimePeriod", "idle")
      cpuShares = try cpu.integer("shares")
      cpuQuotaMicroseconds = try cpu.integer("quota")
      cpuPeriodMicroseconds = try cpu.integer("period")
      cpuBurstMicroseconds = try cpu.integer("burst")
      cpus = try cpu.string("cpus")
      memoryNodes = try cpu.string("mems")
    }
    pidsLimit = try reader.object("pids")?.integer("limit")
    for entry in try reader.objects("hugepageLimits") {
      hugepageLimitBytes[try entry.requiredString("pageSize")] = try entry.integer("limit") ?? 0
    }
    if let block = try reader.object("blockIO") {
      try block.refuse(
        "leafWeight", "weightDevice", "throttleReadBpsDevice", "throttleWriteBpsDevice", "throttleReadIOPSDevice",
        "throttleWriteIOPSDevice")
      blockIOWeight = try block.integer("weight")
    }
    unified = try reader.stringMap("unified")
  }
}

extension RuntimeSpec.Seccomp {
  init(_ reader: RuntimeReader) throws(RuntimeSpecError) {
    try reader.refuse("listenerPath", "listenerMetadata")
    self.init(
      defaultAction: try Self.action(reader, "defaultAction"), defaultErrno: try reader.integer("defaultErrnoRet"))
    architectures = try reader.strings("architectures")
    flags = try reader.strings("flags")
    for entry in try reader.objects("syscalls") {
      var arguments: [Argument] = []
      for argument in try entry.objects("args") {
        let text = try argument.requiredString("op")
        guard let comparison = Operator(rawValue: text) else { throw argument.error("op", "\(text) is no comparison") }
        guard let index: UInt32 = try argument.integer("index"), index < 6 else {
          throw argument.error("index", "not from 0 to 5")
        }
        arguments.append(
          Argument(
            index: index, value: try argument.integer("value") ?? 0, valueTwo: try argument.integer("valueTwo") ?? 0,
            comparison: comparison))
      }
      rules.append(
        Rule(
          names: try entry.strings("names"), action: try Self.action(entry, "action"),
          errno: try entry.integer("errnoRet"), arguments: arguments))
    }
  }

  private static func action(_ reader: RuntimeReader, _ key: String) throws(RuntimeSpecError) -> Action {
    let text = try reader.requiredString(key)
    guard let action = Action(rawValue: text) else { throw reader.error(key, "action \(text) is not supported") }
    return action
  }
}
