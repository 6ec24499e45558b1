package import CRIModel
internal import ContainerPlan
package import PodRuntime

/// Reads what a request says of a pod sandbox. Pure; refuses by the name of the field.
package enum SandboxRequestReader {
  /// Kernel's limit on a host name, bytes.
  private static let hostnameBytesMax = 64

  package static func config(
    _ request: CRIPodSandboxConfig, runtimeHandler: String, hasSELinux: Bool = false, usesSystemdGroups: Bool = false
  ) throws(RequestRefusal) -> SandboxConfig {
    let metadata = request.metadata
    guard request.hasMetadata, !metadata.name.isEmpty else { throw .invalid("config.metadata.name", "is empty") }
    guard runtimeHandler.isEmpty || runtimeHandler == "martlet" else {
      throw .unsupported("runtime_handler", "\(runtimeHandler): the only handler is the default one")
    }
    if request.hasWindows { throw .invalid("config.windows", "this is a Linux node") }
    var config = SandboxConfig(
      identity: SandboxIdentity(
        namespace: metadata.namespace, name: metadata.name, uid: metadata.uid, attempt: metadata.attempt))
    config.hostname = try hostname(request.hostname)
    config.logDirectory = request.logDirectory.isEmpty ? "" : try absolute(request.logDirectory, "config.log_directory")
    config.nameResolution = try nameResolution(request)
    config.labels = request.labels
    config.annotations = request.annotations
    config.runtimeHandler = runtimeHandler
    let linux = request.linux
    config.cgroupParent = try cgroupParent(linux.cgroupParent, isSlice: usesSystemdGroups)
    let security = linux.securityContext
    try refuse(security, hasSELinux: hasSELinux)
    config.privileged = security.privileged
    let options = security.namespaceOptions
    let field = "config.linux.security_context.namespace_options"
    config.users = try UserNamespaceReader.users(options, field)
    config.network = try choice(options.network, "\(field).network")
    config.processes = try choice(options.pid, "\(field).pid")
    config.interprocess = try choice(options.ipc, "\(field).ipc")
    guard [.pod, .node].contains(config.network) else { throw .invalid("\(field).network", "must be POD or NODE") }
    guard [.pod, .node].contains(config.interprocess) else { throw .invalid("\(field).ipc", "must be POD or NODE") }
    config.sysctls = try sysctls(linux.sysctls, config)
    // On the node's own network a port of the container is one of the node already.
    let ports = try ports(request.portMappings)
    if config.network == .pod { config.hostPorts = ports }
    config.resources = try ResourceReader.resources(linux.resources, "config.linux.resources")
    return config
  }

  /// Parents of the one driver are none of the other: a group there would be somebody else's.
  private static func cgroupParent(_ parent: String, isSlice: Bool) throws(RequestRefusal) -> String {
    guard !parent.isEmpty, parent.hasSuffix(".slice") != isSlice else { return parent }
    let field = "config.linux.cgroup_parent"
    if isSlice {
      throw .invalid(field, "\(parent): with the systemd driver a parent is a slice, as \"kubepods.slice\"")
    }
    throw .unsupported(field, "\(parent): use the cgroupfs driver, or set cgroup-driver = \"systemd\" on this node")
  }

  package static func choice(_ mode: CRINamespaceMode, _ field: String) throws(RequestRefusal) -> NamespaceChoice {
    switch mode {
    case .pod: .pod
    case .container: .container
    case .node: .node
    case .target: .target
    case .UNRECOGNIZED(let number): throw .unsupported(field, "mode \(number) is unknown")
    }
  }

  private static func sysctls(
    _ sysctls: [String: String], _ config: SandboxConfig
  ) throws(RequestRefusal) -> [String: String] {
    for (name, value) in sysctls.sorted(by: { $0.key < $1.key }) {
      do throws(PlanError) {
        _ = try Sysctls.path(
          name: name, value: value, hasOwnIPC: config.interprocess == .pod, hasOwnNetwork: config.network == .pod)
      } catch {
        throw .invalid("config.linux.sysctls", error.description)
      }
    }
    return sysctls
  }

  /// The pod's own process is the shim, which nothing of this confines: only what no container could do is refused.
  private static func refuse(
    _ security: CRILinuxSandboxSecurityContext, hasSELinux: Bool
  ) throws(RequestRefusal) {
    let field = "config.linux.security_context.selinux_options"
    if try ConfinementReader.labels(security.selinuxOptions, field) != nil, !hasSELinux {
      throw .unsupported(field, "SELinux labels are not supported by this node's kernel")
    }
  }

  private static func hostname(_ name: String) throws(RequestRefusal) -> String {
    let plain = name.utf8.allSatisfy {
      (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || $0 == 45 || $0 == 46 || $0 == 95
    }
    guard plain, name.utf8.count <= hostnameBytesMax else {
      throw .invalid("config.hostname", "\(name): letters, digits, - and . and at most \(hostnameBytesMax) of them")
    }
    return name
  }

  private static func absolute(_ path: String, _ field: String) throws(RequestRefusal) -> String {
    guard path.hasPrefix("/"), !path.utf8.contains(0), !path.split(separator: "/").contains("..") else {
      throw .invalid(field, "\(path): must be absolute and without ..")
    }
    return path
  }

  /// Each becomes a word of a line in resolv.conf: nothing in it may end the line or the word.
  private static func nameResolution(_ request: CRIPodSandboxConfig) throws(RequestRefusal) -> NameResolution? {
    guard request.hasDnsConfig else { return nil }
    let dns = request.dnsConfig
    for (field, words) in [("servers", dns.servers), ("searches", dns.searches), ("options", dns.options)] {
      for word in words {
        guard !word.isEmpty, word.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7f }) else {
          throw .invalid("config.dns_config.\(field)", "\(word.debugDescription): must be one word")
        }
      }
    }
    let names = NameResolution(servers: dns.servers, searches: dns.searches, options: dns.options)
    return names.isEmpty ? nil : names
  }

  /// Mappings without a host port only say what the container listens on.
  private static func ports(_ mappings: [CRIPortMapping]) throws(RequestRefusal) -> [PortMapping] {
    var ports: [PortMapping] = []
    for (index, mapping) in mappings.enumerated() where mapping.hostPort != 0 {
      let field = "config.port_mappings[\(index)]"
      guard let host = UInt16(exactly: mapping.hostPort) else {
        throw .invalid("\(field).host_port", "\(mapping.hostPort) is no port")
      }
      guard let container = UInt16(exactly: mapping.containerPort), container > 0 else {
        throw .invalid("\(field).container_port", "\(mapping.containerPort) is no port")
      }
      let transport: PortMapping.Transport
      switch mapping.protocol {
      case .tcp: transport = .tcp
      case .udp: transport = .udp
      case .sctp: transport = .sctp
      case .UNRECOGNIZED(let number): throw .unsupported("\(field).protocol", "\(number) is unknown")
      }
      ports.append(
        PortMapping(
          transport: transport, containerPort: container, hostPort: host, hostAddress: mapping.hostIp))
    }
    return ports
  }
}
