internal import ContainerPlan
package import JSON
internal import OCISpec

/// What is written of a sandbox before anything of it exists: enough to find and undo every part of it.
package struct SandboxRecord: Hashable, Sendable {
  /// Raised when a field changes its meaning; a record of another version is set aside.
  package static let version: Int64 = 1

  package var id: String
  /// Of the boot that made it: nothing of an earlier boot still runs.
  package var bootID: String
  /// Nanoseconds since 1970.
  package var createdAt: Int64
  /// Below the cgroup mount.
  package var cgroupPath: String
  /// Groups above it that were not there: made for it, and removed with the last that is in them.
  package var madeGroups: [String]
  package var config: SandboxConfig

  package init(
    id: String, bootID: String, createdAt: Int64, cgroupPath: String, madeGroups: [String], config: SandboxConfig
  ) {
    self.id = id
    self.bootID = bootID
    self.createdAt = createdAt
    self.cgroupPath = cgroupPath
    self.madeGroups = madeGroups
    self.config = config
  }

  package var json: JSONValue {
    [
      "version": .integer(Self.version), "id": .string(id), "bootID": .string(bootID),
      "createdAt": .integer(createdAt), "cgroupPath": .string(cgroupPath), "madeGroups": JSONValue(madeGroups),
      "config": config.json,
    ]
  }

  package init(_ value: JSONValue, path: String) throws(RecordError) {
    let reader = try RecordReader(value, path: path)
    let version = try reader.integer("version")
    guard version == Self.version else {
      throw RecordError(path: path, problem: "has version \(version), this daemon reads \(Self.version)")
    }
    id = try reader.string("id")
    bootID = try reader.string("bootID")
    createdAt = try reader.integer("createdAt")
    cgroupPath = try reader.string("cgroupPath")
    madeGroups = try reader.strings("madeGroups")
    config = try SandboxConfig(reader.object("config"))
  }
}

/// What became of the sandbox since; replaced at each change.
package struct SandboxState: Hashable, Sendable {
  package enum Phase: String, Sendable { case ready, notReady, stopped }
  package var phase: Phase
  /// Why it is not ready; empty otherwise.
  package var reason: String
  package var addresses: SandboxAddresses
  package var shimPID: Int32

  package init(phase: Phase, reason: String = "", addresses: SandboxAddresses, shimPID: Int32) {
    self.phase = phase
    self.reason = reason
    self.addresses = addresses
    self.shimPID = shimPID
  }

  package var json: JSONValue {
    var object: JSONObject = [
      "phase": .string(phase.rawValue), "reason": .string(reason), "shimPID": .integer(Int64(shimPID)),
    ]
    object["ipv4"] = addresses.ipv4.map { .string($0) }
    object["ipv6"] = addresses.ipv6.map { .string($0) }
    object["namespacePath"] = addresses.namespacePath.map { .string($0) }
    object["hostLink"] = addresses.hostLink.map { .string($0) }
    return .object(object)
  }

  package init(_ value: JSONValue, path: String) throws(RecordError) {
    let reader = try RecordReader(value, path: path)
    phase = try reader.choice("phase")
    reason = try reader.string("reason")
    shimPID = try reader.unsigned("shimPID")
    addresses = SandboxAddresses(
      ipv4: try reader.optionalString("ipv4"), ipv6: try reader.optionalString("ipv6"),
      namespacePath: try reader.optionalString("namespacePath"), hostLink: try reader.optionalString("hostLink"))
  }
}

extension SandboxConfig {
  var json: JSONValue {
    var object: JSONObject = [
      "namespace": .string(identity.namespace), "name": .string(identity.name), "uid": .string(identity.uid),
      "attempt": .integer(Int64(identity.attempt)), "hostname": .string(hostname),
      "logDirectory": .string(logDirectory),
      "labels": JSONValue(labels), "annotations": JSONValue(annotations), "cgroupParent": .string(cgroupParent),
      "sysctls": JSONValue(sysctls), "network": .string(network.rawValue), "processes": .string(processes.rawValue),
      "interprocess": .string(interprocess.rawValue), "resources": resources.json, "privileged": .bool(privileged),
      "runtimeHandler": .string(runtimeHandler), "hostPorts": .array(hostPorts.map(\.json)),
    ]
    object["nameResolution"] = nameResolution.map {
      ["servers": JSONValue($0.servers), "searches": JSONValue($0.searches), "options": JSONValue($0.options)]
    }
    object["users"] = users.map {
      ["uids": .array($0.uids.map(\.json)), "gids": .array($0.gids.map(\.json))]
    }
    return .object(object)
  }

  init(_ reader: RecordReader) throws(RecordError) {
    self.init(
      identity: SandboxIdentity(
        namespace: try reader.string("namespace"), name: try reader.string("name"), uid: try reader.string("uid"),
        attempt: try reader.unsigned("attempt")))
    hostname = try reader.string("hostname")
    logDirectory = try reader.string("logDirectory")
    labels = try reader.map("labels")
    annotations = try reader.map("annotations")
    cgroupParent = try reader.string("cgroupParent")
    sysctls = try reader.map("sysctls")
    network = try reader.choice("network")
    processes = try reader.choice("processes")
    interprocess = try reader.choice("interprocess")
    resources = try LinuxResources(reader.object("resources"))
    privileged = try reader.bool("privileged")
    runtimeHandler = try reader.string("runtimeHandler")
    for port in try reader.objects("hostPorts") { hostPorts.append(try PortMapping(port)) }
    if let users = try reader.optionalObject("users") {
      self.users = UserMappings(uids: [], gids: [])
      for range in try users.objects("uids") { self.users?.uids.append(try RuntimeSpec.IDMapping(range)) }
      for range in try users.objects("gids") { self.users?.gids.append(try RuntimeSpec.IDMapping(range)) }
    }
    if let names = try reader.optionalObject("nameResolution") {
      nameResolution = NameResolution(
        servers: try names.strings("servers"), searches: try names.strings("searches"),
        options: try names.strings("options"))
    }
  }
}

extension RuntimeSpec.IDMapping {
  var json: JSONValue {
    [
      "containerID": .integer(Int64(containerID)), "hostID": .integer(Int64(hostID)), "size": .integer(Int64(size)),
    ]
  }

  init(_ reader: RecordReader) throws(RecordError) {
    self.init(
      containerID: try reader.unsigned("containerID"), hostID: try reader.unsigned("hostID"),
      size: try reader.unsigned("size"))
  }
}

extension PortMapping {
  var json: JSONValue {
    [
      "transport": .string(transport.rawValue), "containerPort": .integer(Int64(containerPort)),
      "hostPort": .integer(Int64(hostPort)), "hostAddress": .string(hostAddress),
    ]
  }

  init(_ reader: RecordReader) throws(RecordError) {
    self.init(
      transport: try reader.choice("transport"), containerPort: try reader.unsigned("containerPort"),
      hostPort: try reader.unsigned("hostPort"), hostAddress: try reader.string("hostAddress"))
  }
}

extension LinuxResources {
  /// Only what is set.
  var json: JSONValue {
    var object = JSONObject()
    func set(_ key: String, _ value: Int64) { if value != 0 { object[key] = .integer(value) } }
    set("cpuPeriod", cpuPeriod)
    set("cpuQuota", cpuQuota)
    set("cpuShares", cpuShares)
    set("memoryLimit", memoryLimit)
    set("memorySwapLimit", memorySwapLimit)
    set("oomScoreAdjustment", oomScoreAdjustment)
    if !cpus.isEmpty { object["cpus"] = .string(cpus) }
    if !memoryNodes.isEmpty { object["memoryNodes"] = .string(memoryNodes) }
    if !hugepages.isEmpty { object["hugepages"] = JSONValue(hugepages.mapValues { "\($0)" }) }
    if !unified.isEmpty { object["unified"] = JSONValue(unified) }
    return .object(object)
  }

  init(_ reader: RecordReader) throws(RecordError) {
    self.init()
    func number(_ key: String) throws(RecordError) -> Int64 { try reader.has(key) ? reader.integer(key) : 0 }
    cpuPeriod = try number("cpuPeriod")
    cpuQuota = try number("cpuQuota")
    cpuShares = try number("cpuShares")
    memoryLimit = try number("memoryLimit")
    memorySwapLimit = try number("memorySwapLimit")
    oomScoreAdjustment = try number("oomScoreAdjustment")
    cpus = try reader.optionalString("cpus") ?? ""
    memoryNodes = try reader.optionalString("memoryNodes") ?? ""
    if reader.has("hugepages") { hugepages = try reader.map("hugepages").mapValues { UInt64($0) ?? 0 } }
    if reader.has("unified") { unified = try reader.map("unified") }
  }
}
