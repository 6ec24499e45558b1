import CRIModel
import ContainerPlan
import OCISpec
import PodRuntime
import Testing

@testable import CRIServer

@Suite struct ConfinementTests {
  private static func mapping(_ container: UInt32, _ host: UInt32, _ length: UInt32) -> CRIIDMapping {
    var mapping = CRIIDMapping()
    (mapping.containerID, mapping.hostID, mapping.length) = (container, host, length)
    return mapping
  }

  private static func options(_ mode: CRINamespaceMode, _ mappings: [CRIIDMapping]) -> CRINamespaceOption {
    var options = CRINamespaceOption()
    options.usernsOptions.mode = mode
    options.usernsOptions.uids = mappings
    options.usernsOptions.gids = mappings
    return options
  }

  @Test func aPodsUsersAreReadAndShownAgain() throws {
    let options = Self.options(.pod, [Self.mapping(0, 100_000, 65_536)])
    let users = try UserNamespaceReader.users(options, "o")
    let range = RuntimeSpec.IDMapping(containerID: 0, hostID: 100_000, size: 65_536)
    #expect(users == UserMappings(uids: [range], gids: [range]))
    #expect(UserNamespaceReader.message(users) == options.usernsOptions)
    #expect(try UserNamespaceReader.users(Self.options(.node, []), "o") == nil)
    #expect(try UserNamespaceReader.users(CRINamespaceOption(), "o") == nil)
  }

  @Test func mappingsThatNoPodCanHaveAreRefused() {
    let good = Self.mapping(0, 1000, 100_000)
    let wrong: [CRINamespaceOption] = [
      Self.options(.container, []), Self.options(.target, []), Self.options(.pod, []),
      Self.options(.pod, [good, Self.mapping(0, 2000, 1)]), Self.options(.pod, [Self.mapping(1, 1000, 10)]),
      Self.options(.pod, [Self.mapping(0, 1000, 0)]), Self.options(.pod, [Self.mapping(0, .max, 2)]),
      Self.options(.node, [good]),
    ]
    for options in wrong {
      let refusal = #expect(throws: RequestRefusal.self) { try UserNamespaceReader.users(options, "o") }
      #expect(refusal?.field.hasPrefix("o.userns_options") == true)
    }
  }

  @Test func aContainerHasTheUsersOfItsPod() throws {
    var input = try ContainerSpecBuilderTests.input()
    let range = RuntimeSpec.IDMapping(containerID: 0, hostID: 100_000, size: 65_536)
    input.sandbox.record.config.users = UserMappings(uids: [range], gids: [range])
    let spec = try ContainerSpecBuilder.build(input).specification
    #expect(spec.linux.namespaces.contains(RuntimeSpec.Namespace(.user)) && spec.linux.uidMappings == [range])
    // No list of paths to hide is how a kubelet asks for all of /proc, which only such a pod may have.
    #expect(spec.linux.maskedPaths.isEmpty)
    #expect(try !ContainerSpecBuilderTests.build().specification.linux.maskedPaths.isEmpty)
    #expect(throws: RequestRefusal.self) {
      try ContainerSpecBuilderTests.build {
        $0.linux.securityContext.namespaceOptions.usernsOptions.mode = .pod
        $0.linux.securityContext.namespaceOptions.usernsOptions.uids = [Self.mapping(0, 1, 1)]
        $0.linux.securityContext.namespaceOptions.usernsOptions.gids = [Self.mapping(0, 1, 1)]
      }
    }
  }

  @Test func profilesOfAppArmorAreNamed() throws {
    var security = CRILinuxContainerSecurityContext()
    #expect(try ConfinementReader.profile(security, hasDefault: false) == nil)
    #expect(try ConfinementReader.profile(security, hasDefault: true) == ConfinementReader.defaultProfile)
    security.apparmorProfile = "localhost/old"
    #expect(try ConfinementReader.profile(security, hasDefault: true) == "old")
    security.apparmor.profileType = .localhost
    security.apparmor.localhostRef = "new"
    #expect(try ConfinementReader.profile(security, hasDefault: true) == "new")
    security.apparmor.localhostRef = "a b"
    #expect(throws: RequestRefusal.self) { try ConfinementReader.profile(security, hasDefault: true) }
    security.privileged = true
    #expect(try ConfinementReader.profile(security, hasDefault: true) == nil)
  }

  @Test func labelsOfSELinuxAreCompletedAndChecked() throws {
    var options = CRISELinuxOption()
    #expect(try ConfinementReader.labels(options, "o") == nil)
    options.level = "s0:c4,c5"
    #expect(try ConfinementReader.labels(options, "o")?.process == "system_u:system_r:container_t:s0:c4,c5")
    #expect(try ConfinementReader.labels(options, "o")?.mount == "system_u:object_r:container_file_t:s0:c4,c5")
    for level in ["s0,c4,c5", "c1", "s", "s0:", "s0:x", "s0-"] {
      options.level = level
      #expect(throws: RequestRefusal.self) { try ConfinementReader.labels(options, "o") }
    }
  }
}
