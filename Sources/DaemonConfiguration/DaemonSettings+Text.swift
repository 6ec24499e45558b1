extension DaemonSettings {
  /// One setting as it stands in a file.
  package struct Entry: Hashable, Sendable {
    /// Empty for the top of the file.
    package var section: String
    package var key: String
    /// In TOML.
    package var value: String
    package var comment: String
    /// Taken over by a running daemon when it gets SIGHUP.
    package var reloads: Bool

    package var name: String { section.isEmpty ? key : "\(section).\(key)" }
  }

  /// Every setting, in the order of the file.
  package var entries: [Entry] { topEntries + networkEntries + otherEntries }

  private var topEntries: [Entry] {
    [
      Entry("", "root", root, "Images, layers and writable layers."),
      Entry("", "run", run, "Runtime state, on a file system that a reboot empties."),
      Entry("", "socket", socket, "The CRI socket; empty: martlet.sock in the run directory."),
      Entry("", "shim", shim, "The martlet-shim program; empty: the one beside martletd."),
      Entry(
        "", "missing-controllers", missingControllers.rawValue,
        "\"error\" or \"warn\": run without limits whose cgroup v2 controller the node lacks, instead of refusing them."
      ),
      Entry(
        "", "cgroup-parent", cgroupParent, "Parent group of pods that ask for none; with systemd's driver a slice."),
      Entry(
        "", "cgroup-driver", cgroupDriver.rawValue, "\"cgroupfs\", or \"systemd\": a delegated scope for each pod."),
      Entry(
        "log", "level", logLevel.rawValue,
        LogLevel.allCases.map(\.rawValue).joined(separator: ", ") + ".", reloads: true),
      Entry("log", "format", logFormat.rawValue, "\"text\", or \"json\": one object a line.", reloads: true),
    ]
  }

  private var networkEntries: [Entry] {
    [
      Entry(
        "network", "mode", networkMode.rawValue,
        "\"auto\": CNI plugins where there is a CNI configuration, else the built-in network; \"builtin\" or \"cni\"."),
      Entry(
        "network", "pod-cidrs", podBlocks, "The node's own blocks: at most one of IPv4 and one of IPv6 (built-in)."),
      Entry(
        "network", "cluster-cidrs", clusterBlocks,
        "All pods of the cluster: traffic to them is not masqueraded (built-in)."),
      Entry("network", "service-cidrs", serviceBlocks, "Virtual addresses of services (built-in)."),
      Entry("network", "mtu", raw: "\(mtu)", "Bytes (built-in)."),
      Entry("network", "pool-size", raw: "\(poolSize)", "Ready network namespaces that are kept (built-in)."),
      Entry(
        "network", "masquerade", raw: "\(masquerade)", "Pods reach the outside under the node's address (built-in)."),
      Entry(
        "network", "cni-config-directory", cniConfigurationDirectory,
        "The first usable file by name is taken; changes are seen at once."),
      Entry("network", "cni-plugin-directories", cniPluginDirectories, "Where CNI plugins are looked for, in order."),
    ]
  }

  private var otherEntries: [Entry] {
    [
      Entry("images", "keep-blobs", raw: "\(keepBlobs)", "Keep compressed layers after unpacking them."),
      Entry(
        "images", "hosts-directory", hostsDirectory,
        "HOST/hosts.toml below it names mirrors; these files are read at every pull.", reloads: true),
      Entry("images", "docker-config", dockerConfig, "Credentials of registries.", reloads: true),
      Entry("images", "pulls-max", raw: "\(pullsMax)", "Pulls at one time."),
      Entry(
        "images", "unpack-threads-max", raw: "\(unpackThreadsMax)", "0 is the number of processors."),
      Entry("images", "pinned", pinned, "Images that are never pruned."),
      Entry("streaming", "address", streamingAddress, "Where exec, attach and port-forward are served."),
      Entry("streaming", "port", raw: "\(streamingPort)", "0 lets the kernel choose a port."),
      Entry(
        "metrics", "address", metricsAddress,
        "/metrics, /livez and /readyz: \"unix:PATH\" (below the run directory where not absolute), \"ADDRESS:PORT\", or \"\"."
      ),
    ]
  }

  /// As a file that reads back to this.
  package var text: String {
    Self.file { entry in "# \(entry.comment)\n\(entry.key) = \(entry.value)\n" }(entries)
  }

  /// The same without explanations, each setting with the file that it comes from.
  package var dump: String {
    Self.file { entry in "\(entry.key) = \(entry.value)  # \(origins[entry.name] ?? "built in")\n" }(entries)
  }

  private static func file(_ line: @escaping (Entry) -> String) -> ([Entry]) -> String {
    { entries in
      var text = "version = \(version)\n"
      var section = ""
      for entry in entries {
        if entry.section != section {
          text += "\n[\(entry.section)]\n"
          section = entry.section
        }
        text += line(entry)
      }
      return text
    }
  }

  /// What becomes of `new` in a running daemon.
  package func changes(to new: DaemonSettings) -> (taken: [String], needRestart: [String]) {
    let changed = zip(entries, new.entries).filter { $0.value != $1.value }.map(\.1)
    return (changed.filter(\.reloads).map(\.name), changed.filter { !$0.reloads }.map(\.name))
  }

  /// This, with what a running daemon takes from `new`.
  package func reloaded(from new: DaemonSettings) -> DaemonSettings {
    var settings = self
    settings.logLevel = new.logLevel
    settings.logFormat = new.logFormat
    settings.hostsDirectory = new.hostsDirectory
    settings.dockerConfig = new.dockerConfig
    return settings
  }
}

extension DaemonSettings.Entry {
  fileprivate init(_ section: String, _ key: String, raw: String, _ comment: String, reloads: Bool = false) {
    self.init(section: section, key: key, value: raw, comment: comment, reloads: reloads)
  }

  fileprivate init(_ section: String, _ key: String, _ text: String, _ comment: String, reloads: Bool = false) {
    self.init(section, key, raw: Self.quoted(text), comment, reloads: reloads)
  }

  fileprivate init(_ section: String, _ key: String, _ texts: [String], _ comment: String) {
    self.init(section, key, raw: "[" + texts.map(Self.quoted).joined(separator: ", ") + "]", comment)
  }

  /// A TOML string; settings hold no control characters.
  private static func quoted(_ text: String) -> String {
    "\"" + text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"") + "\""
  }
}
