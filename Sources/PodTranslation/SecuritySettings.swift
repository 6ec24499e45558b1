internal import CRIModel
internal import KubeModel
internal import SwiftProtobuf

enum SecuritySettings {
  /// What a container does not see of /proc and /sys, and what it may only read, as Kubernetes asks for it.
  static let maskedPaths = [
    "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
    "/sys/devices/virtual/powercap",
  ]
  static let readonlyPaths = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]

  static func namespaces(_ spec: PodSpec) -> CRINamespaceOption {
    CRINamespaceOption.with {
      $0.network = spec.hostNetwork == true ? .node : .pod
      $0.pid = spec.hostPID == true ? .node : spec.shareProcessNamespace == true ? .pod : .container
      $0.ipc = spec.hostIPC == true ? .node : .pod
    }
  }

  static func sandbox(_ spec: PodSpec, _ facts: NodeFacts) -> CRILinuxSandboxSecurityContext {
    let context = spec.securityContext ?? PodSecurityContext()
    return CRILinuxSandboxSecurityContext.with { out in
      out.namespaceOptions = namespaces(spec)
      if let user = context.runAsUser { out.runAsUser.value = user }
      if let group = context.runAsGroup, context.runAsUser != nil { out.runAsGroup.value = group }
      out.supplementalGroups = groups(context)
      out.supplementalGroupsPolicy = context.supplementalGroupsPolicy == "Strict" ? .strict : .merge
      out.privileged = (spec.containers + spec.initContainers).contains { $0.securityContext?.privileged == true }
      out.seccomp = seccomp(context.seccompProfile, privileged: false, facts)
      if let options = context.seLinuxOptions { out.selinuxOptions = labels(options) }
    }
  }

  static func container(_ container: Container, _ spec: PodSpec, _ facts: NodeFacts) -> CRILinuxContainerSecurityContext
  {
    let pod = spec.securityContext ?? PodSecurityContext()
    let own = container.securityContext ?? SecurityContext()
    let privileged = own.privileged == true
    return CRILinuxContainerSecurityContext.with { out in
      out.namespaceOptions = namespaces(spec)
      out.privileged = privileged
      if let user = own.runAsUser ?? pod.runAsUser { out.runAsUser.value = user }
      if let group = own.runAsGroup ?? pod.runAsGroup { out.runAsGroup.value = group }
      out.readonlyRootfs = own.readOnlyRootFilesystem == true
      out.supplementalGroups = groups(pod)
      out.supplementalGroupsPolicy = pod.supplementalGroupsPolicy == "Strict" ? .strict : .merge
      out.noNewPrivs = own.allowPrivilegeEscalation == false
      if let capabilities = own.capabilities {
        out.capabilities.addCapabilities = capabilities.add.map(name)
        out.capabilities.dropCapabilities = capabilities.drop.map(name)
      }
      if !privileged {
        out.maskedPaths = maskedPaths
        out.readonlyPaths = readonlyPaths
      }
      out.seccomp = seccomp(own.seccompProfile ?? pod.seccompProfile, privileged: privileged, facts)
      if let profile = own.appArmorProfile ?? pod.appArmorProfile { out.apparmor = appArmor(profile) }
      if let options = own.seLinuxOptions ?? pod.seLinuxOptions { out.selinuxOptions = labels(options) }
    }
  }

  /// Whether the kernel has such confinement is for the runtime to see, which refuses what it cannot do.
  private static func appArmor(_ profile: AppArmorProfile) -> CRISecurityProfile {
    CRISecurityProfile.with {
      switch profile.type {
      case "Unconfined": $0.profileType = .unconfined
      case "Localhost":
        $0.profileType = .localhost
        $0.localhostRef = profile.localhostProfile ?? ""
      default: $0.profileType = .runtimeDefault
      }
    }
  }

  private static func labels(_ options: SELinuxOptions) -> CRISELinuxOption {
    CRISELinuxOption.with {
      $0.user = options.user ?? ""
      $0.role = options.role ?? ""
      $0.type = options.type ?? ""
      $0.level = options.level ?? ""
    }
  }

  private static func groups(_ context: PodSecurityContext) -> [Int64] {
    context.supplementalGroups + (context.fsGroup.map { [$0] } ?? [])
  }

  /// Kubernetes writes capabilities without the prefix, and lets both pass.
  private static func name(_ capability: String) -> String {
    capability.hasPrefix("CAP_") ? String(capability.dropFirst(4)) : capability
  }

  /// Where a pod says nothing it gets the runtime's profile, not none: safe unless asked otherwise.
  private static func seccomp(
    _ profile: SeccompProfile?, privileged: Bool, _ facts: NodeFacts
  ) -> CRISecurityProfile {
    CRISecurityProfile.with {
      switch profile?.type {
      case "Localhost":
        $0.profileType = .localhost
        $0.localhostRef = "\(facts.seccompRoot)/\(profile?.localhostProfile ?? "")"
      case "Unconfined": $0.profileType = .unconfined
      case "RuntimeDefault": $0.profileType = .runtimeDefault
      default: $0.profileType = privileged ? .unconfined : .runtimeDefault
      }
    }
  }

  /// The user that `runAsNonRoot` must not find to be 0.
  ///
  /// - Parameter image: the user that the image names, by number or by name (then the number is unknown).
  /// - Throws: `TranslationError` where the container would be root, or nobody can know.
  static func checkNonRoot(
    _ container: Container, _ spec: PodSpec, imageUser: Int64?, imageUserName: String
  ) throws(TranslationError) {
    let own = container.securityContext
    guard own?.runAsNonRoot ?? spec.securityContext?.runAsNonRoot ?? false else { return }
    if let user = own?.runAsUser ?? spec.securityContext?.runAsUser {
      if user == 0 { throw TranslationError("container has runAsNonRoot and runAsUser 0") }
    } else if let imageUser {
      if imageUser == 0 { throw TranslationError("container has runAsNonRoot and image will run as root") }
    } else if imageUserName.isEmpty {
      throw TranslationError("container has runAsNonRoot and image will run as root")
    } else {
      throw TranslationError(
        "container has runAsNonRoot and image has non-numeric user (\(imageUserName)), cannot verify user is non-root")
    }
  }
}
