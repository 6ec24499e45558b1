package import JSON

/// A seccomp profile whose rules depend on the container's capabilities and the machine, as Docker's and Podman's files
/// and our own default are written. A plain profile of a `config.json` is one without conditions.
package struct SeccompTemplate: Hashable, Sendable {
  struct ConditionalRule: Hashable, Sendable {
    var rule: RuntimeSpec.Seccomp.Rule
    var capabilities: [String]
    var architectures: [String]
    var excludedCapabilities: [String]
    var excludedArchitectures: [String]
  }

  private var base: RuntimeSpec.Seccomp
  private var subArchitectures: [String: [String]]
  private var rules: [ConditionalRule]

  /// The profile that containers get unless something else is asked for (oci/seccomp-default.json).
  package static let standard: SeccompTemplate = {
    do {
      return try SeccompTemplate(json: try JSONValue.parse(RuntimeDefaultData.seccomp))
    } catch {
      preconditionFailure("oci/seccomp-default.json: \(error)")
    }
  }()

  /// - Throws: `RuntimeSpecError` for actions and conditions that Martlet does not know.
  package init(json: JSONValue) throws(RuntimeSpecError) {
    let reader = try RuntimeReader(json, path: "")
    var plain = reader.object
    plain["syscalls"] = nil
    base = try RuntimeSpec.Seccomp(try RuntimeReader(.object(plain), path: ""))
    subArchitectures = [:]
    for entry in try reader.objects("archMap") {
      subArchitectures[try entry.requiredString("architecture")] = try entry.strings("subArchitectures")
    }
    rules = []
    for entry in try reader.objects("syscalls") {
      var single = JSONObject()
      single["defaultAction"] = .string(base.defaultAction.rawValue)
      single["syscalls"] = .array([.object(entry.object)])
      // An old form has one call a rule, as "name".
      if let name = try entry.string("name"), !name.isEmpty {
        var renamed = entry.object
        renamed["names"] = .array([.string(name)])
        single["syscalls"] = .array([.object(renamed)])
      }
      let parsed = try RuntimeSpec.Seccomp(try RuntimeReader(.object(single), path: entry.path))
      let includes = try entry.object("includes")
      let excludes = try entry.object("excludes")
      for rule in parsed.rules {
        rules.append(
          ConditionalRule(
            rule: rule, capabilities: try includes?.strings("caps") ?? [],
            architectures: try includes?.strings("arches") ?? [],
            excludedCapabilities: try excludes?.strings("caps") ?? [],
            excludedArchitectures: try excludes?.strings("arches") ?? []))
      }
    }
  }

  /// The profile for a container.
  /// - Parameters:
  ///   - capabilities: of its bounding set, as "CAP_CHOWN".
  ///   - architecture: of the machine, as "SCMP_ARCH_X86_64".
  package func profile(
    capabilities: some Sequence<String>, architecture: String = Self.nativeArchitecture
  ) -> RuntimeSpec.Seccomp {
    let have = Set(capabilities)
    let short = Self.shortNames[architecture] ?? architecture
    var profile = base
    if let others = subArchitectures[architecture] { profile.architectures = [architecture] + others }
    profile.rules = rules.filter { entry in
      entry.capabilities.allSatisfy { have.contains($0) }
        && !entry.excludedCapabilities.contains { have.contains($0) }
        && (entry.architectures.isEmpty || entry.architectures.contains(short))
        && !entry.excludedArchitectures.contains(short)
    }.map(\.rule)
    return profile
  }

  /// As the conditions of such files call them.
  private static let shortNames = ["SCMP_ARCH_X86_64": "amd64", "SCMP_ARCH_AARCH64": "arm64", "SCMP_ARCH_X86": "x86"]

  package static var nativeArchitecture: String {
    #if arch(x86_64)
      "SCMP_ARCH_X86_64"
    #else
      "SCMP_ARCH_AARCH64"
    #endif
  }
}

/// What containers get unless something else is asked for (oci/container-defaults.json).
package enum RuntimeDefaults {
  package static let capabilities = list("capabilities")
  package static let maskedPaths = list("maskedPaths")
  package static let readonlyPaths = list("readonlyPaths")

  /// The same bytes as the files of oci/, for the test that says so.
  package static var data: [String: String] {
    ["seccomp-default.json": RuntimeDefaultData.seccomp, "container-defaults.json": RuntimeDefaultData.container]
  }

  private static func list(_ key: String) -> [String] {
    guard let document = try? JSONValue.parse(RuntimeDefaultData.container), let list = document[key]?.array else {
      preconditionFailure("oci/container-defaults.json: no \(key)")
    }
    return list.compactMap(\.string)
  }
}
