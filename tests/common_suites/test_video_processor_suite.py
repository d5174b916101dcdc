"""transformers' own common suite for video processors, run against ours."""

import unittest

from support.transformers_suites import suite

from processing import VideoBertVideoProcessor

common = suite("test_video_processing_common")


class VideoBertVideoProcessorTester:
    """What the suite asks of a tester: settings, videos to match, and the shapes that must come out."""

    batch_size, num_frames, num_channels, min_resolution, max_resolution = 5, 8, 3, 30, 80
    crop_size = {"height": 18, "width": 18}

    def prepare_video_processor_dict(self):
        return {
            "do_resize": True,
            "size": {"shortest_edge": 20},
            "do_center_crop": True,
            "crop_size": self.crop_size,
            "do_normalize": True,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
            "do_convert_rgb": True,
        }

    def expected_output_video_shape(self, videos):
        return self.num_frames, self.num_channels, self.crop_size["height"], self.crop_size["width"]

    def prepare_video_inputs(self, equal_resolution=False, return_tensors="pil"):
        return common.prepare_video_inputs(
            batch_size=self.batch_size,
            num_frames=self.num_frames,
            num_channels=self.num_channels,
            min_resolution=self.min_resolution,
            max_resolution=self.max_resolution,
            equal_resolution=equal_resolution,
            return_tensors=return_tensors,
        )


class VideoBertVideoProcessorTest(common.VideoProcessingTestMixin, unittest.TestCase):
    fast_video_processing_class = VideoBertVideoProcessor

    def setUp(self):
        super().setUp()
        self.video_processor_tester = VideoBertVideoProcessorTester()

    @property
    def video_processor_dict(self):
        return self.video_processor_tester.prepare_video_processor_dict()
