import CRIModel
import Kernel
import NodeAgent
import SwiftProtobuf
import Testing

@Suite struct CareTests {
  @Test func asManyPartsOfALogStayAsMayBe() {
    var rule = LogRotation()
    rule.filesMax = 3
    let names = ["0.log", "0.log.0002", "0.log.0001", "0.log.0003", "0.log.x", "1.log", "1.log.0001", "10.log.0001"]
    // The current one, its successor, and one old part.
    #expect(rule.surplus(of: "0.log", among: names) == ["0.log.0001", "0.log.0002"])
    #expect(rule.surplus(of: "1.log", among: names) == [])
    rule.filesMax = 2
    #expect(rule.surplus(of: "1.log", among: names) == ["1.log.0001"])
    let (first, second) = (LogRotation.name(of: "0.log", at: 999), LogRotation.name(of: "0.log", at: 1000))
    #expect(first < second && first.hasPrefix("0.log."))
  }

  @Test func imagesGoOnlyWhenTheDiskIsFullAndOnlyAsManyAsMust() {
    let care = ImageCare()
    #expect(care.excess(totalBytes: 1000, availableBytes: 150) == 0)
    #expect(care.excess(totalBytes: 1000, availableBytes: 100) == 100)
    #expect(care.excess(totalBytes: 0, availableBytes: 0) == 0)
    let images = (1...4).map { number in
      CRIImage.with {
        $0.id = "sha256:\(number)"
        $0.repoTags = ["image:\(number)"]
        $0.size = UInt64(number * 10)
        $0.pinned = number == 4
      }
    }
    let containers = [CRIContainer.with { $0.image.image = "image:3" }]
    #expect(care.removable(images, usedBy: containers, bytes: 15).map(\.id) == ["sha256:2"])
    #expect(care.removable(images, usedBy: containers, bytes: 25).map(\.id) == ["sha256:2", "sha256:1"])
    #expect(care.removable(images, usedBy: containers, bytes: 0).isEmpty)
  }
}
