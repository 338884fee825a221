# SPDX-License-Identifier: MIT
class ApplicationController < ActionController::Base
end
