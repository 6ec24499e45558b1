internal import DaemonConfiguration
internal import Kernel
internal import PodNetwork
internal import Systemd

extension DaemonSettings {
  /// Reads `path`, where it exists or is `required`, and the `*.toml` of the directory of the same name with `.d`, in
  /// the order of their names. Blocks on the disk.
  static func load(_ path: String, required: Bool) throws -> DaemonSettings {
    var settings = DaemonSettings()
    if let text = try Files.readText(path) {
      try settings.merge(text, from: path)
    } else if required {
      throw SettingsError(file: path, problem: "does not exist")
    }
    let dropIns = (path.hasSuffix(".toml") ? String(path.dropLast(5)) : path) + ".d"
    guard Files.exists(dropIns) else { return settings }
    for entry in try Directory(path: dropIns).list().sorted(by: { $0.name < $1.name })
    where entry.name.hasSuffix(".toml") {
      let file = "\(dropIns)/\(entry.name)"
      try settings.merge(try Files.readText(file) ?? "", from: file)
    }
    return settings
  }

  /// The file that is read when none is named.
  static var presentPath: String {
    !Files.exists(defaultPath) && Files.exists(formerPath) ? formerPath : defaultPath
  }

  /// What no single file can have wrong.
  /// - Throws: `SettingsError` with the key.
  func check() throws {
    _ = try podNetwork()
    guard Set(podBlocks.compactMap { IPPrefix($0)?.address.family }).count == podBlocks.count, !podBlocks.isEmpty
    else { throw refused("network.pod-cidrs", "one IPv4 block, one IPv6 block, or one of each") }
    guard cgroupDriver == .systemd else { return }
    do { _ = try SystemdScopes.directory(of: podParent) } catch { throw refused("cgroup-parent", "\(error)") }
  }

  func podNetwork() throws -> PodNetworkConfiguration {
    func blocks(_ key: String, _ texts: [String]) throws -> [IPPrefix] {
      try texts.map { text in
        guard let block = IPPrefix(text) else { throw refused("network.\(key)", "\(text) is no block") }
        return block
      }
    }
    return PodNetworkConfiguration(
      podCIDRs: try blocks("pod-cidrs", podBlocks), clusterCIDRs: try blocks("cluster-cidrs", clusterBlocks),
      serviceCIDRs: try blocks("service-cidrs", serviceBlocks), mtu: mtu, poolSize: poolSize, masquerade: masquerade)
  }

  private func refused(_ key: String, _ problem: String) -> SettingsError {
    SettingsError(file: origins[key] ?? "configuration", problem: "\(key): \(problem)")
  }
}
